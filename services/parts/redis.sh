# Redis, from Debian 12. The package redis-tools holds the server too: redis-check-rdb is the same program, its name decides.
# shellcheck shell=bash

redis_check() { require_version redis-tools "$REDIS_MINIMUM"; }
redis_version() { package_version redis-tools; }
redis_data() { echo "$DATA/redis"; }

redis_start() {
  mkdir -p "$DATA/redis"
  ln -sfn "$(command -v redis-check-rdb)" "$RUN/redis-server"
  spawn redis "$RUN/redis-server" --port "$(port_of redis)" --bind $HOST --dir "$DATA/redis" --save "" --appendonly yes --daemonize no
}

redis_healthy() { [ "$(redis-cli -h $HOST -p "$(port_of redis)" ping)" = PONG ]; }
