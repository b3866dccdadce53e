# MariaDB, from Debian 12 (only the programs; Debian's own service is not installed).
# shellcheck shell=bash

mariadb_check() { require_version mariadb-server-core "$MARIADB_MINIMUM"; }
mariadb_version() { package_version mariadb-server-core; }
mariadb_data() { echo "$DATA/mariadb"; }

mariadb_start() {
  local home=$DATA/mariadb template=$CACHE/template-mariadb
  if [ ! -d "$home/data/mysql" ]; then
    mariadb_template "$template"
    rm -rf "$home"
    mkdir -p "$home"
    cp -a "$template" "$home/data"
    touch "$home/fresh"
  fi
  spawn mariadb mariadbd --defaults-file="$SERVICES/conf/mariadb.cnf" --user=root --datadir="$home/data" \
    --bind-address="$HOST" --port="$(port_of mariadb)" --socket="$home/socket" --pid-file="$home/pid" --server-id=19308 \
    --auto-increment-increment=2 --auto-increment-offset=1 # as in mysql.sh
}

mariadb_template() {
  local id
  id=$(mariadb_version)
  (
    flock 8
    stamped template-mariadb "$id" && exit 0
    rm -rf "$1"
    mariadb-install-db --no-defaults --innodb-log-file-size=32M --user=root --datadir="$1" \
      --auth-root-authentication-method=normal --skip-test-db >"$LOG/mariadb-initialize.log" 2>&1 ||
      die_with_log "$LOG/mariadb-initialize.log" "mariadb-install-db failed"
    stamp template-mariadb "$id"
  ) 8>"$CACHE/lock-template-mariadb"
}

mariadb_sql() { mariadb --no-defaults --protocol=TCP -h$HOST -P"$(port_of mariadb)" -uroot "$@"; }
mariadb_healthy() { mariadb_sql -e 'select 1'; }
mariadb_provision() {
  [ -f "$DATA/mariadb/fresh" ] || return 0
  mariadb_sql <"$SERVICES/sql/mariadb.sql"
  rm "$DATA/mariadb/fresh"
}
