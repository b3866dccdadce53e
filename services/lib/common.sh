# Places, ports and messages: what every part uses. Starts nothing.
# shellcheck shell=bash disable=SC2034

TIDELOCK_CACHE=${TIDELOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidelock}
TIDELOCK_PORT_BASE=${TIDELOCK_PORT_BASE:-19000}
TIDELOCK_STACK_DIR=${TIDELOCK_STACK_DIR:-/var/tmp/tidelock/$TIDELOCK_PORT_BASE}
START_TIMEOUT_S=${TIDELOCK_START_TIMEOUT_S:-180}

ALL_PARTS="kafka registry connect mysql mysql2 mariadb postgres postgres18 redis"
HOST=127.0.0.1

mkdir -p "$TIDELOCK_CACHE" "$TIDELOCK_STACK_DIR"/{run,log,data,conf}
CACHE=$(cd "$TIDELOCK_CACHE" && pwd)
STACK_DIR=$(cd "$TIDELOCK_STACK_DIR" && pwd)
RUN=$STACK_DIR/run LOG=$STACK_DIR/log DATA=$STACK_DIR/data CONF=$STACK_DIR/conf
# PostgreSQL does not run as root and must be able to walk down to its data.
chmod o+x "$STACK_DIR" "$DATA" "$RUN"

# One table of ports: docker-compose.yml repeats it for base 19000, and a test compares the two.
port_offset_of() {
  case $1 in
    registry) echo 81 ;;
    connect) echo 83 ;;
    kafka) echo 92 ;;
    kafka_controller) echo 93 ;;
    mysql) echo 306 ;;
    mysql2) echo 307 ;;
    mariadb) echo 308 ;;
    redis) echo 379 ;;
    postgres) echo 432 ;;
    postgres18) echo 433 ;;
    *) die "part '$1' has no port" ;;
  esac
}
port_of() { echo $((TIDELOCK_PORT_BASE + $(port_offset_of "$1"))); }

say() { printf 'stack: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}
# Fails a part: shows the end of its log and says where the rest is.
die_with_log() { # die_with_log LOGFILE message
  local log=$1
  shift
  [ -f "$log" ] && tail -n 15 "$log" >&2
  die "$*; read $log"
}

SELECTED=
# Sets SELECTED to the named parts in starting order; connect brings kafka along.
select_parts() {
  local part wanted
  [ $# -gt 0 ] || set -- $ALL_PARTS
  wanted=" $* "
  for part in "$@"; do
    case " $ALL_PARTS " in *" $part "*) ;; *) die "unknown part '$part' (there are: $ALL_PARTS)" ;; esac
  done
  if [ "$command" = up ]; then case $wanted in *" connect "*) wanted+="kafka " ;; esac; fi
  SELECTED=
  for part in $ALL_PARTS; do
    case $wanted in *" $part "*) SELECTED+="$part " ;; esac
  done
}
