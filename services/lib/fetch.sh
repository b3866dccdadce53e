# Downloads: apt packages, Maven files checked by sha256, and the chroot that holds what Debian 12 lacks.
# Everything lands in $CACHE and is used again by the next run.
# shellcheck shell=bash

LOCKING=${LOCKING:-}
SID=$CACHE/sid # chroot with MySQL 9 and PostgreSQL 18
SID_PACKAGES=mysql-server-core,mysql-client-core,postgresql-18

stamped() { [ "$(cat "$CACHE/stamp-$1" 2>/dev/null)" = "$2" ]; }
stamp() { printf '%s' "$2" >"$CACHE/stamp-$1"; }

# Networks fail now and then; three attempts with a growing pause.
retry() { # retry LOGFILE command…
  local log=$1 attempt
  shift
  : >"$log"
  for attempt in 1 2 3; do
    "$@" >>"$log" 2>&1 && return 0
    [ $attempt = 3 ] || sleep $((attempt * 5))
  done
  return 1
}

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

apt_install() { # apt_install package…
  local missing=() package
  for package in $(printf '%s\n' "$@" | sort -u); do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "apt-get install ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # The package lists of a fresh machine are missing or old.
  retry "$LOG/fetch-apt.log" bash -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' apt "${missing[@]}" ||
    die_with_log "$LOG/fetch-apt.log" "cannot install ${missing[*]}"
}

# Packages of all parts in one apt run: apt has one lock.
fetch_packages() {
  local part packages=(ca-certificates curl procps)
  for part in $SELECTED; do
    case $part in
      kafka | connect | registry)
        command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
        command -v mvn >/dev/null || packages+=(maven)
        command -v zip >/dev/null || packages+=(zip)
        ;;
      mysql | mysql2 | postgres18) packages+=(debootstrap gpgv debian-archive-keyring) ;;
      mariadb) packages+=(mariadb-server-core mariadb-client-core) ;; # -core holds the programs and no service
      redis) packages+=(redis-tools) ;;
      postgres)
        mkdir -p /etc/postgresql-common
        [ -f /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        packages+=(postgresql-15)
        ;;
    esac
  done
  apt_install "${packages[@]}"
}

# MySQL 9 and PostgreSQL 18 are not in Debian 12. They come from sid, signed as everything there, into a chroot.
fetch_sid() {
  stamped sid "$SID_PACKAGES" && return
  say "debootstrap sid ($SID_PACKAGES)"
  rm -rf "$SID"
  retry "$LOG/fetch-sid.log" bash -c 'rm -rf "$2"; debootstrap --force-check-gpg --variant=minbase --include="$1" sid "$2"' debootstrap "$SID_PACKAGES" "$SID" ||
    die_with_log "$LOG/fetch-sid.log" "debootstrap failed"
  rm -rf "$SID"/var/cache/apt/archives/*.deb "$SID"/usr/share/{doc,man,locale} "$SID"/var/lib/apt/lists/*
  stamp sid "$SID_PACKAGES"
}

package_version() { # package_version PACKAGE [ROOT]
  dpkg-query --admindir="${2:-}/var/lib/dpkg" -W -f='${Version}' "$1" 2>/dev/null
}
require_version() { # require_version PACKAGE MINIMUM [ROOT]
  local version
  version=$(package_version "$1" "${3:-}") || die "package $1 is not installed"
  dpkg --compare-versions "${version#*:}" ge "$2" || die "$1 is $version, at least $2 is needed"
}

# Writes a pom with the given body and runs Maven's dependency plugin on it. Maven's local repository has no lock: one run at a time.
run_maven() { # run_maven GOAL BODY argument…
  local goal=$1 body=$2 pom
  shift 2
  pom=$(mktemp -d "$CACHE/pom.XXXXXX")
  cat >"$pom/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tidelock</groupId><artifactId>stack</artifactId><version>1</version><packaging>pom</packaging>$body</project>
XML
  retry "$LOG/fetch-maven.log" mvn -B -q -f "$pom/pom.xml" "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:$goal" "$@" ||
    die_with_log "$LOG/fetch-maven.log" "Maven could not fetch"
  rm -rf "$pom"
}

# Libraries with all they need at run time, into $CACHE/NAME.
maven_libraries() { # maven_libraries NAME group:artifact:version…
  local name=$1 coordinate group artifact version body='<dependencies>'
  shift
  for coordinate in "$@"; do
    IFS=: read -r group artifact version <<<"$coordinate"
    body+="<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
  done
  rm -rf "${CACHE:?}/$name"
  run_maven copy-dependencies "$body</dependencies>" -DoutputDirectory="$CACHE/$name" -DincludeScope=runtime
  check_hashes "$name"
}

# Archives without dependencies, into $CACHE/NAME.
maven_archives() { # maven_archives NAME group:artifact:version:classifier…
  local name=$1 coordinate group artifact version classifier
  shift
  rm -rf "${CACHE:?}/$name"
  for coordinate in "$@"; do
    IFS=: read -r group artifact version classifier <<<"$coordinate"
    run_maven copy '' -Dartifact="$group:$artifact:$version:tar.gz:$classifier" -DoutputDirectory="$CACHE/$name"
  done
  check_hashes "$name"
}

# Exactly the recorded files with exactly the recorded bytes: nothing more, nothing less.
check_hashes() { # check_hashes NAME
  local found recorded
  found=$(cd "$CACHE" && find "$1" -type f -print0 | sort -z | xargs -0 sha256sum)
  if [ -n "$LOCKING" ]; then
    printf '%s\n' "$found" >>"$SERVICES/maven.sha256"
    return
  fi
  recorded=$(grep "  $1/" "$SERVICES/maven.sha256") || die "services/maven.sha256 records nothing for $1"
  [ "$found" = "$recorded" ] || {
    diff <(printf '%s\n' "$recorded") <(printf '%s\n' "$found") >"$LOG/fetch-hashes.log" || true
    rm -rf "${CACHE:?}/$1"
    die_with_log "$LOG/fetch-hashes.log" "downloaded files of $1 are not those of services/maven.sha256"
  }
}
