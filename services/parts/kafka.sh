# Kafka: one node, broker and controller in one (KRaft).
# shellcheck shell=bash

KAFKA_HEAP=384m
KAFKA_CLUSTER_ID=VGlkZWxvY2tTdGFja0tSYQ

kafka_version() { echo "$KAFKA_VERSION"; }
kafka_data() { echo "$DATA/kafka"; }

# Broker, command line tools and the Connect runtime share one folder of libraries.
kafka_fetch() {
  local id="$KAFKA_VERSION $KAFKA_SCALA_VERSION $LOG4J_VERSION"
  [ -z "$LOCKING" ] && stamped kafka "$id" && return
  say "fetch Kafka $KAFKA_VERSION"
  maven_libraries kafka "org.apache.kafka:kafka_$KAFKA_SCALA_VERSION:$KAFKA_VERSION" \
    "org.apache.kafka:kafka-tools:$KAFKA_VERSION" "org.apache.kafka:connect-runtime:$KAFKA_VERSION" \
    "org.apache.kafka:connect-json:$KAFKA_VERSION" "org.apache.kafka:connect-transforms:$KAFKA_VERSION" \
    "org.apache.logging.log4j:log4j-slf4j-impl:$LOG4J_VERSION"
  stamp kafka "$id"
}

# Kafka's Java programs, with logs on standard output where spawn puts them into the part's log.
kafka_java() { # kafka_java HEAP flag…  → sets KAFKA_JAVA
  find_java
  KAFKA_JAVA=("$JAVA" "-Xms$1" "-Xmx$1" "${JVM_FLAGS[@]}" "-Dlog4j2.configurationFile=$SERVICES/conf/log4j2.properties" "${@:2}" -cp "$CACHE/kafka/*")
}

kafka_start() {
  find_java
  sed -e "s|@PORT@|$(port_of kafka)|g" -e "s|@CONTROLLER_PORT@|$(port_of kafka_controller)|g" -e "s|@DATA@|$DATA/kafka|g" \
    "$SERVICES/conf/kafka.properties" >"$CONF/kafka.properties"
  if [ ! -f "$DATA/kafka/meta.properties" ]; then
    mkdir -p "$DATA/kafka"
    kafka_java 128m -XX:TieredStopAtLevel=1
    "${KAFKA_JAVA[@]}" kafka.tools.StorageTool format -t $KAFKA_CLUSTER_ID -c "$CONF/kafka.properties" >"$LOG/kafka-format.log" 2>&1 ||
      die_with_log "$LOG/kafka-format.log" "cannot format Kafka's storage"
  fi
  class_data "kafka-$KAFKA_VERSION"
  kafka_java $KAFKA_HEAP "${CLASS_DATA_FLAGS[@]}"
  spawn kafka "${KAFKA_JAVA[@]}" kafka.Kafka "$CONF/kafka.properties"
}

# The broker says that it is started (it is unfenced then) and answers an ApiVersions request without an error.
kafka_healthy() {
  grep -q 'Kafka Server started' "$LOG/kafka.log" || return 1
  local reply
  exec 3<>"/dev/tcp/$HOST/$(port_of kafka)" || return 1
  # Length, ApiVersions (18) version 0, correlation 1, client "tide".
  printf '\0\0\0\x0e\0\x12\0\0\0\0\0\x01\0\x04tide' >&3
  reply=$(timeout 5 head -c 10 <&3 | od -An -v -tx1 | tr -d ' \n')
  exec 3>&-
  [ "${reply:8}" = 000000010000 ]
}

kafka_topics() {
  kafka_java 128m -XX:TieredStopAtLevel=1 -Dtidelock.log.level=WARN
  "${KAFKA_JAVA[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "$HOST:$(port_of kafka)" "$@"
}
