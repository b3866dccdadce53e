# PostgreSQL 15 from Debian 12, and 18 in the sid chroot.
# shellcheck shell=bash

postgres_check() { require_version postgresql-15 "$POSTGRES_MINIMUM"; }
postgres18_check() { require_version postgresql-18 "$POSTGRES18_MINIMUM" "$SID"; }
postgres_version() { package_version postgresql-15; }
postgres18_version() { package_version postgresql-18 "$SID"; }
postgres_data() { echo "$DATA/postgres"; }
postgres18_data() { echo "$SID$(postgres18_home)"; }
# As with MySQL: a server in the chroot has its data in the chroot.
postgres18_home() { echo "/srv/postgres-$(port_of postgres18)"; }

# Sets AS_POSTGRES to what runs a program of that part as user postgres, and BIN to where it is.
postgres_runner() {
  case $1 in
    postgres) AS_POSTGRES=(setpriv --reuid=postgres --regid=postgres --clear-groups) BIN=/usr/lib/postgresql/15/bin ;;
    postgres18) AS_POSTGRES=(chroot --userspec=postgres:postgres "$SID") BIN=/usr/lib/postgresql/18/bin ;;
  esac
}

postgres_start_as() { # postgres_start_as PART ROOT HOME [option…]
  local part=$1 root=$2 home=$3
  shift 3
  postgres_runner "$part"
  if [ ! -f "$root$home/PG_VERSION" ]; then
    rm -rf "$root${home:?}"
    mkdir -p "$root$home"
    chroot "${root:-/}" chown postgres:postgres "$home"
    chmod 700 "$root$home"
    (cd / && "${AS_POSTGRES[@]}" $BIN/initdb -D "$home" -A trust -U postgres --encoding=UTF8 --locale=C.UTF-8 --no-sync) >"$LOG/$part-initialize.log" 2>&1 ||
      die_with_log "$LOG/$part-initialize.log" "$part: initdb failed"
    touch "$root$home/fresh"
  fi
  cp "$SERVICES/conf/postgres.conf" "$root$home/tidelock.conf"
  chmod o+r "$root$home/tidelock.conf"
  spawn "$part" "${AS_POSTGRES[@]}" $BIN/postgres -D "$home" -c config_file="$home/tidelock.conf" -c listen_addresses=$HOST \
    -p "$(port_of "$part")" -c unix_socket_directories= -c dynamic_shared_memory_type=mmap "$@"
}

postgres_sql_as() { # postgres_sql_as PART argument…
  local psql=(psql)
  [ "$1" = postgres ] || psql=(chroot --userspec=postgres:postgres "$SID" /usr/lib/postgresql/18/bin/psql)
  "${psql[@]}" -X -q -h $HOST -p "$(port_of "$1")" -U postgres "${@:2}"
}
postgres_provision_as() { # postgres_provision_as PART FRESH
  [ -f "$2" ] || return 0
  postgres_sql_as "$1" -d postgres -v ON_ERROR_STOP=1 <"$SERVICES/sql/postgres.sql"
  rm "$2"
}

postgres_start() { postgres_start_as postgres "" "$DATA/postgres"; }
postgres_sql() { postgres_sql_as postgres "$@"; }
postgres_healthy() { postgres_sql -d postgres -c 'select 1'; }
postgres_provision() { postgres_provision_as postgres "$DATA/postgres/fresh"; }

# PostgreSQL 18 alone limits the origins in use at a time (10): every lane of the engine has one.
postgres18_start() { postgres_start_as postgres18 "$SID" "$(postgres18_home)" -c io_method=sync -c max_active_replication_origins=64; }
postgres18_sql() { postgres_sql_as postgres18 "$@"; }
postgres18_healthy() { postgres18_sql -d postgres -c 'select 1'; }
postgres18_provision() { postgres_provision_as postgres18 "$(postgres18_data)/fresh"; }
