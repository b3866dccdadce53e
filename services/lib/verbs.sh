# The commands: what happens to the selected parts, and in which order.
# shellcheck shell=bash

lock_stack() {
  exec 9>"$RUN/lock"
  flock -w 900 9 || die "another services/stack holds $RUN/lock"
}

# Waits for background jobs and fails if one failed.
join() { # join PID…
  local pid failed=0
  for pid in "$@"; do wait "$pid" || failed=1; done
  return $failed
}

# Apt first (one lock, and it brings Maven and debootstrap); then Maven, in line, beside debootstrap.
stack_fetch() {
  local part jobs=()
  [ "$(id -u)" = 0 ] || die "run as root: apt-get, debootstrap and chroot need it"
  (
    flock -w 1800 8 || die "another download holds $CACHE/lock"
    fetch_packages
    (for part in $SELECTED; do case $part in kafka | connect | registry) "${part}_fetch" ;; esac done) &
    jobs+=($!)
    (for part in $SELECTED; do case $part in mysql | mysql2 | postgres18) fetch_sid ;; esac done) &
    jobs+=($!)
    join "${jobs[@]}" || die "a download failed; see above"
    for part in $SELECTED; do ! declare -F "${part}_check" >/dev/null || "${part}_check"; done
  ) 8>"$CACHE/lock"
}

start_part() {
  alive "$1" || "$1_start"
  wait_until_healthy "$1"
  ! declare -F "$1_provision" >/dev/null || "$1_provision"
  say "$1 answers on $HOST:$(port_of "$1") after $SECONDS s"
}

stack_up() {
  local part jobs=()
  lock_stack
  stack_fetch
  for part in $SELECTED; do
    case $part in
      connect) ;;
      kafka) # Connect stores its state in Kafka and starts when that answers.
        (
          start_part kafka
          case " $SELECTED " in *" connect "*) start_part connect ;; esac
        ) &
        jobs+=($!)
        ;;
      *)
        start_part "$part" &
        jobs+=($!)
        ;;
    esac
  done
  join "${jobs[@]}" || die "not everything is up; logs are in $LOG"
  say "up: $SELECTED"
}

# Connect first, because it holds connections to everything; Kafka last.
stop_selected() { # stop_selected [SIGNAL]
  local part jobs=()
  case " $SELECTED " in *" connect "*) stop connect "$@" ;; esac
  for part in $SELECTED; do
    case $part in connect | kafka) ;; *)
      stop "$part" "$@" &
      jobs+=($!)
      ;;
    esac
  done
  join "${jobs[@]}"
  case " $SELECTED " in *" kafka "*) stop kafka "$@" ;; esac
}
stack_down() {
  lock_stack
  stop_selected
}
stack_kill() {
  lock_stack
  stop_selected KILL
}

stack_reset() {
  local part
  lock_stack
  # The state of Connect lives in Kafka: its topics must not outlive, or be outlived by, the broker's data.
  case " $SELECTED " in *" kafka "*) case " $SELECTED " in *" connect "*) ;; *) stop connect KILL ;; esac ;; esac
  stop_selected KILL
  for part in $SELECTED; do
    [ "$part" = connect ] || rm -rf "$("${part}_data")"
  done
  say "reset: $SELECTED"
}

stack_status() {
  local part pid state memory failed=0
  printf '%-11s %-6s %-8s %-6s %-8s %s\n' part state pid port rss_MiB version
  for part in $SELECTED; do
    pid=- memory=- state=down
    if alive "$part"; then
      pid=$(pid_of "$part") state=sick
      ! "${part}_healthy" >/dev/null 2>&1 || state=up
      memory=$(ps -o rss= --pid "$pid" --ppid "$pid" | awk '{sum += $1} END {printf "%d", sum / 1024}')
    fi
    [ $state = up ] || failed=1
    printf '%-11s %-6s %-8s %-6s %-8s %s\n' "$part" $state "$pid" "$(port_of "$part")" "$memory" "$("${part}_version")"
  done
  echo "data and logs: $STACK_DIR"
  return $failed
}

# Database addresses have no database name: append "/name".
stack_env() {
  local part
  cat <<LINES
export TIDELOCK_CACHE='$CACHE'
export TIDELOCK_PORT_BASE='$TIDELOCK_PORT_BASE'
export TIDELOCK_STACK_DIR='$STACK_DIR'
export TIDELOCK_TEST_STACK='$SERVICES/stack'
export TIDELOCK_TEST_KAFKA='$HOST:$(port_of kafka)'
export TIDELOCK_TEST_REGISTRY='http://$HOST:$(port_of registry)/apis/ccompat/v7'
export TIDELOCK_TEST_CONVERTER_REGISTRY='http://$HOST:$(port_of registry)/apis/registry/v2'
export TIDELOCK_TEST_CONNECT='http://$HOST:$(port_of connect)'
export TIDELOCK_TEST_REDIS='redis://$HOST:$(port_of redis)'
LINES
  for part in mysql mysql2 mariadb; do print_database_urls "$part" mysql root; done
  for part in postgres postgres18; do print_database_urls "$part" postgres postgres; done
}
print_database_urls() { # print_database_urls PART SCHEME ADMIN
  local name=TIDELOCK_TEST_${1^^} at
  at=$HOST:$(port_of "$1")
  echo "export $name='$2://$3@$at'"
  echo "export ${name}_WRITER='$2://tidelock:tidelock@$at'"
  echo "export ${name}_CONNECTOR='$2://debezium:debezium@$at'"
}
