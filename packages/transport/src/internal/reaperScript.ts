/**
 * The reaper: a POSIX shell program that outlives its host by a second or two.
 *
 * It reads lines from a pipe that only the host holds, so that the end of its input is the end of the host, however that
 * came. Lines: `m MARK DIR` (a mark of the host, and where its leases lie), `+ PID START` and `- PID START` (a process of
 * the host came, or went). When the host ends with processes left, it collects them all before it signals any:
 *
 * - what has a mark in its environment,
 * - the processes of the host, all below them, and the sessions and groups that these lead.
 *
 * Then TERM, up to a second, KILL. Each is known by its start time, which is looked at again before each signal: a pid
 * alone may be somebody else's by then. `read` of `/proc/PID/stat` needs no process; one `grep` finds the marks.
 */
export const script = `
trap '' HUP INT QUIT TERM PIPE
marks= dirs= leased=
while read -r op a b; do
  case $op in
  m) marks="$marks -e $a"; dirs="$dirs
$b/$a-" ;;
  +) leased="$leased $a:$b" ;;
  -) left=
     for one in $leased; do [ "$one" = "$a:$b" ] || left="$left $one"; done
     leased=$left ;;
  esac
done
[ -n "$leased" ] || exit 0

# Sets state, ppid, pgrp, sid and start of a living process; the name before them may hold anything.
look() {
  state=
  { read -r line < "/proc/$1/stat"; } 2>/dev/null || return 1
  set -- \${line##*) }
  state=$1 ppid=$2 pgrp=$3 sid=$4 start=\${20}
  case $state in Z|X|x) return 1 ;; esac
  [ -n "$start" ]
}

# Adds to targets what lives and belongs to the host.
collect() {
  table=
  for dir in /proc/[0-9]*; do
    pid=\${dir#/proc/}
    [ "$pid" = $$ ] && continue
    look "$pid" || continue
    table="$table $pid:$ppid:$pgrp:$sid:$start"
    case " $leased " in *" $pid:$start "*) add "$pid" "$start" ;; esac
  done
  for file in $(grep -lF $marks /proc/[0-9]*/environ 2>/dev/null); do
    pid=\${file#/proc/} pid=\${pid%/environ}
    [ "$pid" = $$ ] && continue
    look "$pid" && add "$pid" "$start"
  done
  # The leader of a session may be gone; its number is not given away while the session lives.
  for one in $leased; do
    pid=\${one%:*}
    look "$pid" && [ "$start" != "\${one#*:}" ] && continue
    led="$led$pid "
  done
  more=1
  while [ -n "$more" ]; do
    more=
    for row in $table; do
      pid=\${row%%:*} rest=\${row#*:}
      ppid=\${rest%%:*} rest=\${rest#*:}
      pgrp=\${rest%%:*} rest=\${rest#*:}
      sid=\${rest%%:*} start=\${rest#*:}
      case $targets in *" $pid:$start "*) continue ;; esac
      case $led in *" $ppid "*|*" $pgrp "*|*" $sid "*) add "$pid" "$start"; more=1 ;; esac
    done
  done
}

add() {
  [ "$1" = 1 ] && return
  case $targets in *" $1:$2 "*) return ;; esac
  targets="$targets$1:$2 "
  led="$led$1 "
}

# Signals what still is what it was; true while something lives.
signal() {
  alive=
  for one in $targets; do
    look "\${one%:*}" && [ "$start" = "\${one#*:}" ] || continue
    alive=1
    kill -s "$1" "\${one%:*}" 2>/dev/null
  done
  [ -n "$alive" ]
}

targets=' ' led=' '
collect
signal TERM
for wait in 1 2 3 4 5 6 7 8 9 10; do
  sleep 0.1
  collect
  signal 0 || break
done
for wait in 1 2 3 4 5 6 7 8 9 10; do
  signal KILL || break
  sleep 0.1
  collect
done
signal 0 || printf '%s\\n' "$dirs" | while read -r lease; do
  [ -n "$lease" ] && rm -f "$lease"*.json
done
`
