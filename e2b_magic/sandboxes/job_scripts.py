"""The shell scripts that keep jobs inside a sandbox; `jobs` runs them.

A job lives in a directory `~/.e2b-magic/jobs/ID` of the user who runs it, which outlives the kernel, the connection and
a pause:

    job         what is known of it, as JSON on one line, without the variables' values
    command     the command's full text
    pid         its process and that of its keeper, each with the time it began (a number may be used again)
    log.NNNNNN  what it wrote, both streams as one: the first mebibyte and the last eight
    exit        its exit code and when it ended, written when its log is complete
    stopped     there when its end was asked for

The **keeper** is a shell in a session of its own that starts the command in another, hands its output to `split`,
waits, and writes `exit`. A log file that is cut when it has grown would be simpler: a fast writer fills the disk before
anyone looks; and a pipe into `head` kills the command. bash and coreutils are all this needs.
"""

from __future__ import annotations

import shlex
from typing import Final

from e2b_magic.sandboxes.process_tree import TREE

SEGMENT: Final = 1024 * 1024
"""The size of one piece of a log, in bytes."""
SEGMENTS: Final = 8
"""How many of a log's last pieces are kept, beside its first."""
KEPT: Final = 50
"""How many ended jobs of a user are kept in a sandbox."""
UNKNOWN_JOB: Final = 4
"""The exit code of a script that finds no such job."""
MARK: Final = "E2B_MAGIC_JOB"
"""The variable by which every process of a job is known, should it have left the job's session."""

# `alive PID START`, `look DIR` (sets pid, start, state, code, ended), `find_job ID` (sets dir too), `answers PORT`.
_COMMON: Final = r"""
shopt -s nullglob
alive() {
  local line
  { read -r line < "/proc/$1/stat"; } 2>/dev/null || return 1
  set -- "$2" ${line##*) }
  [ "$2" != Z ] && [ "${21}" = "$1" ]
}
look() {
  local keeper keeper_start
  code= ended=
  { read -r pid start keeper keeper_start < "$1/pid"; } 2>/dev/null || return 1
  if [ ! -f "$1/exit" ] && alive "$keeper" "$keeper_start"; then state=running
  elif { read -r code ended < "$1/exit"; } 2>/dev/null; then
    state=exited; [ -e "$1/stopped" ] && state=stopped
  else state=lost
  fi
  return 0
}
homes() { cut -d: -f6 /etc/passwd | sort -u; }
find_job() {
  local home
  for home in $(homes); do dir=$home/.e2b-magic/jobs/$1; look "$dir" && return; done
  return 1
}
answers() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2>/dev/null || (exec 3<> "/dev/tcp/::1/$1") 2>/dev/null; }
"""

_KEEPER: Final = rf"""
dir=$1; command=$2
read -r line < /proc/$$/stat; set -- ${{line##*) }}; mine="$$ ${{20}}"
exec 3> >(cd "$dir" && exec env SHELL=/bin/bash split -b {SEGMENT} -d -a 6 --filter='
  old=$((10#${{FILE##*.}} - {SEGMENTS})); [ $old -gt 0 ] && rm -f "$(printf log.%06d $old)"; exec cat > "$FILE"' - log.)
logger=$!
{MARK}=${{dir##*/}} setsid bash -c '
  dir=$1 command=$2 keeper=$3
  read -r line < /proc/$$/stat; set -- ${{line##*) }}
  echo "$$ ${{20}} $keeper" > "$dir/pid.new" && mv "$dir/pid.new" "$dir/pid" && exec bash -c "$command"
' job "$dir" "$command" "$mine" </dev/null >&3 2>&3 3>&-
code=$?
exec 3>&-
for _ in {{1..20}}; do kill -0 $logger 2>/dev/null || break; sleep 0.05; done
echo "$code $(date +%s.%N)" > "$dir/exit.new" && mv "$dir/exit.new" "$dir/exit"
"""

_START: Final = """
dir=~/.e2b-magic/jobs/{id}
(umask 077; mkdir -p "${{dir%/*}}" && mkdir "$dir") || exit
command={command}
printf %s {job} > "$dir/job" && printf %s "$command" > "$dir/command" || exit
ls -td -- "${{dir%/*}}"/*/exit 2>/dev/null | tail -n +{first_old} |
  while IFS= read -r old; do rm -rf -- "${{old%/exit}}"; done
setsid --fork bash -c {keeper} keeper "$dir" "$command" </dev/null >/dev/null 2>&1
for _ in {{1..500}}; do [ -s "$dir/pid" ] && exit; sleep 0.01; done
echo "nothing was started within 5 s" >&2; exit 1
"""

LIST: Final = (
    _COMMON
    + r"""
for home in $(homes); do
  for dir in "$home"/.e2b-magic/jobs/*; do
    look "$dir" || continue
    { IFS= read -r -N 20000 job < "$dir/job"; } 2>/dev/null
    printf '%s\t%s\t%s\t%s\t%s\n' "$state" "$pid" "$code" "$ended" "$job"
  done
done
"""
)
"""Prints a line for each job: state, pid, exit code, end, and the JSON of `job`."""

_FOLLOW: Final = r"""
emit() {
  local number file size have next again=
  while :; do
    number=$((offset / SEGMENT)); printf -v file log.%06d $number
    if size=$(stat -c %s $file 2>/dev/null) && have=$((number * SEGMENT + size - offset)) && [ $have -gt 0 ]; then
      tail -c +$((offset - number * SEGMENT + 1)) $file | head -c $have
      offset=$((offset + have)); again=; continue
    fi
    next=
    for file in log.*; do [ $((10#${file#log.})) -gt $number ] && { next=$((10#${file#log.})); break; }; done
    [ "$next" ] || break
    if [ "$size" ] && [ ! "$again" ]; then again=1; continue; fi
    printf '\n[… %s bytes are no longer kept …]\n' $((next * SEGMENT - offset))
    offset=$((next * SEGMENT))
  done
}
find_job "$job" || exit $UNKNOWN_JOB
cd "$dir" || exit
if [ "$lines" ]; then
  held=0 last=0
  for file in log.*; do
    size=$(stat -c %s $file) && held=$((held + size)) && last=$((10#${file#log.} * SEGMENT + size))
  done
  cat log.* /dev/null 2>/dev/null | head -c $held | tail -n $lines
  offset=$last
fi
while :; do
  look "$dir"
  [ "$quiet" ] || emit
  [ "$follow" ] && [ "$state" = running ] || break
  if [ "$port" ] && answers "$port"; then ready=1; emit; break; fi
  [ $SECONDS -lt $limit ] || break
  sleep 0.1
done
echo "$offset $state ${ready:-0}" >&2
"""

_STOP: Final = r"""
hit() {
  tree "$pid"  # a number is given to no new process while a session of that number has members
  hit="$wanted $(grep -lszx -- "$MARK=$job" /proc/[0-9]*/environ | tr -cs 0-9 ' ')"
  kill -s "$1" $hit 2>/dev/null
}
left() { local one; for one in $hit; do kill -0 "$one" 2>/dev/null && return; done; return 1; }
find_job "$job" || exit $UNKNOWN_JOB
[ "$state" = running ] || exit 0
: > "$dir/stopped"
hit TERM
for ((wait = 0; wait < grace; wait++)); do left || break; sleep 0.05; done
left && hit KILL
for _ in {1..40}; do [ -f "$dir/exit" ] && break; sleep 0.05; done
"""

# Sockets are told apart by their inodes, which /proc/PID/fd and /proc/net/tcp both name; 0A is the state LISTEN.
_LISTENING: Final = r"""
find_job "$job" || exit $UNKNOWN_JOB
tree "$pid"
sockets=" $(for one in $wanted; do readlink "/proc/$one"/fd/*; done 2>/dev/null | tr -cs 0-9 ' ') "
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ address _ state _ _ _ _ _ socket _; do
  [ "$state" = 0A ] && case "$sockets" in *" $socket "*) echo $((16#${address##*:}));; esac
done | sort -nu
"""
# A job's first process keeps the environment that it was started with, whatever the command does.
_TOLD_BASES: Final = r"""
for home in $(homes); do
  for dir in "$home"/.e2b-magic/jobs/*; do
    look "$dir" && [ "$state" = running ] || continue
    grep -qszx -- "PORT=$port" "/proc/$pid/environ" || continue
    sed -nz 's/^BASE_PATH=//p' "/proc/$pid/environ" | tr '\0' '\n'
  done
done
true
"""


def start(job_id: str, job: str, command: str) -> str:
    """Gives the script that starts a job and ends once it has a process.

    Args:
        job_id: The job's id.
        job: What is known of it, as JSON in ASCII.
        command: The command.
    """
    return _START.format(
        id=job_id,
        job=shlex.quote(job),
        command=shlex.quote(command),
        keeper=shlex.quote(_KEEPER),
        first_old=KEPT + 1,
    )


def _with(script: str, **variables: object) -> str:
    lines = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items())
    return f"{_COMMON}{TREE}{lines}{script}"


def follow(
    job_id: str, *, offset: int, lines: int | None, on: bool, quiet: bool, port: int | None, limit: float
) -> str:
    """Gives the script that prints a job's log, and at last, as an error, the offset reached, the state and readiness.

    Args:
        job_id: The job's id.
        offset: Where in the log to begin, in bytes.
        lines: How many of the last lines to begin with instead.
        on: Whether to go on until the job has ended.
        quiet: Whether to print nothing of the log.
        port: End as soon as this port answers.
        limit: End after that many seconds.
    """
    return _with(
        _FOLLOW,
        SEGMENT=SEGMENT,
        UNKNOWN_JOB=UNKNOWN_JOB,
        job=job_id,
        offset=offset,
        lines="" if lines is None else lines,
        follow="1" if on else "",
        quiet="1" if quiet else "",
        port=port or "",
        limit=max(1, round(limit)),
    )


def stop(job_id: str, grace: float) -> str:
    """Gives the script that ends a job and all that it started.

    Args:
        job_id: The job's id.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    return _with(_STOP, UNKNOWN_JOB=UNKNOWN_JOB, MARK=MARK, job=job_id, grace=round(grace / 0.05))


def answers(port: int) -> str:
    """Gives the script that exits with 0 when a port answers, and with 1 when it does not."""
    return _with('answers "$port"', port=port)


def listening(job_id: str) -> str:
    """Gives the script that prints, on a line each, the ports on which a job's processes listen."""
    return _with(_LISTENING, UNKNOWN_JOB=UNKNOWN_JOB, job=job_id)


def told_bases(port: int) -> str:
    """Gives the script that prints, on a line each, the `BASE_PATH` of the jobs that run for a port."""
    return _with(_TOLD_BASES, port=port)
