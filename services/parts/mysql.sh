# MySQL 9, twice: `mysql` and `mysql2`, so that one side of a link can be stopped. Both run in the sid chroot.
# shellcheck shell=bash

mysql_check() { require_version mysql-server-core "$MYSQL_MINIMUM" "$SID"; }
mysql2_check() { mysql_check; }
mysql_version() { package_version mysql-server-core "$SID"; }
mysql2_version() { mysql_version; }
mysql_data() { echo "$SID$(mysql_home mysql)"; }
mysql2_data() { echo "$SID$(mysql_home mysql2)"; }

# A server in the chroot sees no folder outside it, so its data is there, under the port that makes it unique.
mysql_home() { echo "/srv/mysql-$(port_of "$1")"; }
mysql_server() { chroot "$SID" /usr/sbin/mysqld "$@"; }

# Ids that the servers allot never meet, as two-way links with `ids: same` need: this one takes those ≡ OFFSET modulo 2.
mysql_start_as() { # mysql_start_as PART SERVER_ID OFFSET
  local part=$1 server_id=$2 offset=$3 home template=$CACHE/template-mysql
  home=$(mysql_home "$part")
  mkdir -p "$SID$home"
  if [ ! -d "$SID$home/data/mysql" ]; then
    mysql_template "$template"
    rm -rf "$SID$home/data"
    cp -a "$template" "$SID$home/data"
    touch "$SID$home/fresh"
  fi
  cp "$SERVICES/conf/mysql.cnf" "$SID$home/my.cnf"
  spawn "$part" chroot "$SID" /usr/sbin/mysqld --defaults-file="$home/my.cnf" --user=root --datadir="$home/data" \
    --performance-schema=OFF --mysqlx=OFF --bind-address="$HOST" --port="$(port_of "$part")" --socket="$home/socket" --pid-file="$home/pid" \
    --server-id="$server_id" --auto-increment-increment=2 --auto-increment-offset="$offset"
}

# Initialising takes seconds; a copy of the result does not.
mysql_template() {
  local id
  id=$(package_version mysql-server-core "$SID")
  (
    flock 8
    stamped template-mysql "$id" && exit 0
    rm -rf "$1" "$SID/srv/template"
    mysql_server --no-defaults --initialize-insecure --user=root --datadir=/srv/template --innodb-redo-log-capacity=64M >"$LOG/mysql-initialize.log" 2>&1 ||
      die_with_log "$LOG/mysql-initialize.log" "mysqld cannot initialise its data"
    rm -f "$SID/srv/template/auto.cnf" # every server makes its own uuid
    mv "$SID/srv/template" "$1"
    stamp template-mysql "$id"
  ) 8>"$CACHE/lock-template"
}

mysql_sql_as() { # mysql_sql_as PART argument…
  chroot "$SID" mysql --no-defaults --protocol=TCP -h$HOST -P"$(port_of "$1")" -uroot "${@:2}"
}
mysql_provision_as() {
  local fresh
  fresh="$SID$(mysql_home "$1")/fresh"
  [ -f "$fresh" ] || return 0
  mysql_sql_as "$1" <"$SERVICES/sql/mysql.sql"
  rm "$fresh"
}

mysql_start() { mysql_start_as mysql 19306 1; }
mysql_sql() { mysql_sql_as mysql "$@"; }
mysql_healthy() { mysql_sql -e 'select 1'; }
mysql_provision() { mysql_provision_as mysql; }

mysql2_start() { mysql_start_as mysql2 19307 2; }
mysql2_sql() { mysql_sql_as mysql2 "$@"; }
mysql2_healthy() { mysql2_sql -e 'select 1'; }
mysql2_provision() { mysql_provision_as mysql2; }
