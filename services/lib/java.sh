# Java: which one, its common flags, and class-data archives that make later starts faster.
# shellcheck shell=bash

# Debezium decodes binary JSON by the default character set: it must be UTF-8 whatever the locale of who starts it.
JVM_FLAGS=(-Dfile.encoding=UTF-8 -XX:+UseSerialGC -XX:MaxMetaspaceSize=256m -XX:ReservedCodeCacheSize=96m -Xss512k -Djava.awt.headless=true)

java_major() { "$1" -version 2>&1 | sed -n '1s/[^"]*"\([0-9]*\).*/\1/p'; }

JAVA=
# Sets JAVA to the lowest installed Java from 17 on, so that all machines run the same one.
find_java() {
  local candidate major best=999
  [ -z "$JAVA" ] || return 0
  for candidate in "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [ -x "$candidate" ] || continue
    major=$(java_major "$candidate")
    if [ -n "$major" ] && [ "$major" -ge 17 ] && [ "$major" -lt $best ]; then JAVA=$candidate best=$major; fi
  done
  [ -n "$JAVA" ] || die "no Java from 17 on is installed"
}

CLASS_DATA_FLAGS=()
# The archive is written at the first clean stop and used by every start after it. Each Java and version has its own.
class_data() { # class_data NAME
  local archive
  archive=$CACHE/classes-$1-$(java_major "$JAVA").jsa
  if [ -f "$archive" ]; then
    CLASS_DATA_FLAGS=("-XX:SharedArchiveFile=$archive" -Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off)
  else
    CLASS_DATA_FLAGS=("-XX:ArchiveClassesAtExit=$archive" -Xlog:cds=off -Xlog:cds+dynamic=off)
  fi
}
