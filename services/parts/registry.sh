# Schema registry: Apicurio with its Confluent-compatible interface.
# shellcheck shell=bash

REGISTRY_HEAP=96m

registry_version() { echo "$REGISTRY_VERSION"; }
registry_data() { echo "$DATA/registry"; }

registry_fetch() {
  [ -z "$LOCKING" ] && stamped registry "$REGISTRY_VERSION" && return
  say "fetch Apicurio Registry $REGISTRY_VERSION"
  maven_archives registry-download "io.apicurio:apicurio-registry-app:$REGISTRY_VERSION:all"
  rm -rf "$CACHE/registry"
  mkdir -p "$CACHE/registry"
  tar xzf "$CACHE"/registry-download/*.tar.gz -C "$CACHE/registry"
  rm -rf "$CACHE/registry-download"
  stamp registry "$REGISTRY_VERSION"
}

# WRITE_DELAY=0: otherwise H2 forgets the last half second at a kill, and gives the same ids to other schemas.
registry_start() {
  local jar
  find_java
  jar=$(find "$CACHE/registry" -maxdepth 1 -name '*-runner.jar')
  mkdir -p "$DATA/registry"
  class_data "registry-$REGISTRY_VERSION"
  spawn registry "$JAVA" -Xms64m -Xmx$REGISTRY_HEAP "${JVM_FLAGS[@]}" -XX:TieredStopAtLevel=1 "${CLASS_DATA_FLAGS[@]}" \
    "-Dquarkus.http.host=$HOST" "-Dquarkus.http.port=$(port_of registry)" -Dquarkus.http.access-log.enabled=false \
    -Dquarkus.log.level=WARN '-Dquarkus.log.category."io.quarkus".level=INFO' -Dquarkus.log.console.color=false \
    "-DREGISTRY_DATASOURCE_URL=jdbc:h2:file:$DATA/registry/db;WRITE_DELAY=0" -Dregistry.ccompat.legacy-id-mode.enabled=false \
    -jar "$jar"
}

registry_healthy() { curl -fsS -m 5 "http://$HOST:$(port_of registry)/apis/ccompat/v7/subjects"; }
