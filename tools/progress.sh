# Sourced by build.sh and get-emscripten.sh: how they speak, and how a long command shows that it is alive.
# The caller sets me (its name) and log (a file that takes the output of what it runs).
# shellcheck shell=bash
# shellcheck disable=SC2154  # me and log are the caller's

say() { printf '%s: %s\n' "$me" "$*"; }
die() { say "$*" >&2; exit 1; }

watched=

# watch LABEL STATUS COMMAND...
# Runs COMMAND with its output in $log, and meanwhile shows LABEL, what the command STATUS prints, and the seconds:
# on a terminal in one line that is written over, elsewhere in a plain line every ten seconds.
# COMMAND gets a process group of its own, so that an interrupted script can end all of it.
watch() {
  local label=$1 status=$2 started=$SECONDS said=0 result=0 detail elapsed
  shift 2
  [ -t 1 ] || say "$label"
  set -m
  "$@" >>"$log" 2>&1 </dev/null 9>&- &
  watched=$!
  set +m
  while sleep 0.2; kill -0 "$watched" 2>/dev/null; do
    elapsed=$((SECONDS - started))
    if [ -t 1 ]; then
      detail=$($status 2>/dev/null || true)
      printf '\r\033[K%s: %s ... %s%d s' "$me" "$label" "${detail:+$detail, }" "$elapsed"
    elif [ $((elapsed - said)) -ge 10 ]; then
      said=$elapsed
      detail=$($status 2>/dev/null || true)
      say "$label ... ${detail:+$detail, }$elapsed s"
    fi
  done
  wait "$watched" || result=$?
  watched=
  if [ -t 1 ]; then
    printf '\r\033[K'
    [ $result != 0 ] || [ $((SECONDS - started)) -lt 2 ] || say "$label: done in $((SECONDS - started)) s"
  fi
  return $result
}

# Ends what watch is running; for the scripts' traps.
stop_watched() {
  [ -z "$watched" ] || kill -- "-$watched" 2>/dev/null || true
  watched=
}

# megabytes_free FOLDER
megabytes_free() { df -Pm "$1" | awk 'NR == 2 { print $4 }'; }

# installed_so_far: of an apt-get install whose output is in $log.
installed_so_far() {
  awk '/ newly installed,/ { total = $1 + $3 } /^Get:[0-9]/ { fetched++ } /^Unpacking / { unpacked++ } /^Setting up / { ready++ }
       END { if (!total || !(fetched + unpacked)) exit
             if (!unpacked) printf "%d of %d packages fetched", fetched, total
             else if (unpacked < total) printf "%d of %d packages unpacked", unpacked, total
             else printf "%d of %d packages set up", ready, total }' "$log"
}

# steps_so_far: of a build by ninja "[3/40]" or make "[ 12%]" whose output is in $log.
steps_so_far() { grep -o '^\[[^]]*\]' "$log" | tail -n 1 | tr -d '[] ' | sed 's,/, of ,'; }
