# Kafka Connect with the very plugins that services/stack uses: the same pins, the same hash checks.
ARG KAFKA_VERSION
FROM debian:bookworm-slim AS plugins
COPY services /tidelock/services
ENV TIDELOCK_CACHE=/cache
RUN /tidelock/services/stack fetch connect

FROM apache/kafka:${KAFKA_VERSION}
COPY --from=plugins /cache/plugins /opt/plugins
COPY services/conf/connect.properties /tmp/connect.properties
RUN sed -e 's|@KAFKA@|kafka:9092|' -e 's|@LISTEN@|0.0.0.0:19083|' -e 's|@PLUGINS@|/opt/plugins|' /tmp/connect.properties >/opt/kafka/config/tidelock-connect.properties
CMD ["/opt/kafka/bin/connect-distributed.sh", "/opt/kafka/config/tidelock-connect.properties"]
