# Kafka Connect (distributed, one worker) with the Debezium source connectors and the Avro converter.
# shellcheck shell=bash

CONNECT_HEAP=640m
CONNECT_ID="$DEBEZIUM_MYSQL_VERSION $DEBEZIUM_MARIADB_VERSION $DEBEZIUM_POSTGRES_VERSION $REGISTRY_VERSION"

connect_version() {
  echo "$KAFKA_VERSION, Debezium mysql $DEBEZIUM_MYSQL_VERSION, mariadb $DEBEZIUM_MARIADB_VERSION, postgres $DEBEZIUM_POSTGRES_VERSION"
}

connect_fetch() {
  kafka_fetch
  [ -z "$LOCKING" ] && stamped connect "$CONNECT_ID" && return
  say "fetch the Debezium connectors and the Avro converter"
  maven_archives plugins-download \
    "io.debezium:debezium-connector-mysql:$DEBEZIUM_MYSQL_VERSION:plugin" \
    "io.debezium:debezium-connector-mariadb:$DEBEZIUM_MARIADB_VERSION:plugin" \
    "io.debezium:debezium-connector-postgres:$DEBEZIUM_POSTGRES_VERSION:plugin"
  maven_libraries avro-converter "io.apicurio:apicurio-registry-utils-converter:$REGISTRY_VERSION"
  rm -rf "$CACHE/plugins"
  mkdir -p "$CACHE/plugins"
  local archive
  for archive in "$CACHE"/plugins-download/*.tar.gz; do tar xzf "$archive" -C "$CACHE/plugins"; done
  rm -rf "$CACHE/plugins-download"
  mv "$CACHE/avro-converter" "$CACHE/plugins/avro-converter"
  connect_trim_converter "$CACHE/plugins/avro-converter"
  stamp connect "$CONNECT_ID"
}

# The worker brings these libraries itself. And the converter lacks the service entry that quick plugin discovery needs.
connect_trim_converter() {
  local jar
  for jar in connect-api connect-json kafka-clients slf4j-api zstd-jni lz4-java snappy-java; do rm -f "$1/$jar"-[0-9]*.jar; done
  (
    cd "$1"
    mkdir -p META-INF/services
    echo io.apicurio.registry.utils.converter.AvroConverter >META-INF/services/org.apache.kafka.connect.storage.Converter
    zip -q -r service-entry.jar META-INF
    rm -rf META-INF
  )
}

connect_start() {
  sed -e "s|^exactly.once.source.support=.*|exactly.once.source.support=${TIDELOCK_CONNECT_EXACTLY_ONCE:-enabled}|" -e "s|@LISTEN@|$HOST:$(port_of connect)|g" -e "s|@KAFKA@|$HOST:$(port_of kafka)|g" -e "s|@PLUGINS@|$CACHE/plugins|g" \
    "$SERVICES/conf/connect.properties" >"$CONF/connect.properties"
  find_java
  class_data "connect-$KAFKA_VERSION-$(cksum <<<"$CONNECT_ID" | cut -d' ' -f1)"
  kafka_java $CONNECT_HEAP "${CLASS_DATA_FLAGS[@]}"
  spawn connect "${KAFKA_JAVA[@]}" org.apache.kafka.connect.cli.ConnectDistributed "$CONF/connect.properties"
}

connect_healthy() { curl -fsS -m 5 "http://$HOST:$(port_of connect)/health"; }
