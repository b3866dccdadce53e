# Processes: start one detached, know whether it lives, wait until it answers, stop it.
# shellcheck shell=bash

# A pid counts only together with the start time noted beside it, so that a reused pid is never signalled.
# One that has ended and whose parent has not asked about it yet has none.
start_time_of() { sed -n 's/.*) \([^Z] \)/\1/p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
pid_of() { cat "$RUN/$1.pid" 2>/dev/null; }
alive() {
  local pid
  pid=$(pid_of "$1") && [ -n "$pid" ] && [ -d "/proc/$pid" ] && [ "$(cat "$RUN/$1.start" 2>/dev/null)" = "$(start_time_of "$pid")" ]
}

port_open() { (exec 3<>"/dev/tcp/$HOST/$1") 2>/dev/null; }

# Starts a server detached from this shell and from the stack's lock (descriptor 9).
spawn() { # spawn PART command…
  local part=$1
  shift
  port_open "$(port_of "$part")" && die "$part: port $(port_of "$part") is taken by another process; set TIDELOCK_PORT_BASE"
  [ ! -f "$LOG/$part.log" ] || mv -f "$LOG/$part.log" "$LOG/$part.log.1"
  setsid nohup "$@" >"$LOG/$part.log" 2>&1 </dev/null 9>&- &
  echo $! >"$RUN/$part.pid"
  start_time_of $! >"$RUN/$part.start"
}

wait_until_healthy() { # wait_until_healthy PART
  local part=$1 deadline=$((SECONDS + START_TIMEOUT_S))
  until "${part}_healthy" >/dev/null 2>&1; do
    alive "$part" || die_with_log "$LOG/$part.log" "$part stopped while starting"
    [ $SECONDS -lt $deadline ] || die_with_log "$LOG/$part.log" "$part does not answer after ${START_TIMEOUT_S} s"
    sleep 0.2
  done
}

stop() { # stop PART [SIGNAL]
  local part=$1 signal=${2:-TERM} pid ticks=0
  alive "$part" || {
    rm -f "$RUN/$part.pid"
    return 0
  }
  pid=$(pid_of "$part")
  # TERM makes PostgreSQL wait for its clients for ever; INT is its fast shutdown.
  case $part.$signal in postgres*.TERM) signal=INT ;; esac
  # A killed PostgreSQL leaves children that hold its memory for a moment, and it cannot start while they do.
  case $part.$signal in
    postgres*.KILL) kill -KILL "$pid" $(pgrep -P "$pid") ;;
    *) kill "-$signal" "$pid" ;;
  esac
  while alive "$part" && [ $ticks -lt 200 ]; do
    sleep 0.2
    ticks=$((ticks + 1))
  done
  if alive "$part"; then
    say "$part ignores $signal; killing it"
    kill -KILL "$pid"
    while alive "$part"; do sleep 0.2; done
  fi
  rm -f "$RUN/$part.pid"
  say "$part stopped ($signal)"
}
