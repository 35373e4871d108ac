"""Signals to a process in a sandbox and to all that it started.

E2B's own kill reaches the one process it started and leaves that one's children running (E2B#500), so a small script
inside the sandbox looks for them.
"""

from __future__ import annotations

from typing import Final

from e2b import AsyncSandbox

from e2b_magic.sandboxes.sdk_errors import translating

# Every process below $1, or of its process group or session, which also finds children whose parent has exited.
TREE: Final = r"""
tree() {
  local root=$1 rows=() line stat pid grew=1
  wanted=" $1 "
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null < "$stat" || continue
    pid=${stat//[!0-9]/}; set -- ${line##*) }; rows+=("$pid $2 $3 $4")
  done
  while [ "$grew" ]; do
    grew=
    for row in "${rows[@]}"; do
      set -- $row
      case "$wanted" in *" $1 "*) continue;; esac
      case "$wanted" in *" $2 "*) wanted="$wanted$1 "; grew=1; continue;; esac
      if [ "$3" = "$root" ] || [ "$4" = "$root" ]; then wanted="$wanted$1 "; grew=1; fi
    done
  done
}
"""
"""A shell function that puts the ids of a process and of all that it started into `wanted`."""


async def signal_tree(sandbox: AsyncSandbox, pid: int, signal: str, user: str | None) -> None:
    """Sends a signal to a process in a sandbox and to everything that it started.

    Args:
        sandbox: Where the process runs.
        pid: The process that was started.
        signal: The signal's name without `SIG`.
        user: Who runs it; signals are sent as that user.
    """
    # Killed until nothing is left: what is forked between the look and the kill is found by its session. Any other
    # signal is sent once, as a terminal would.
    rounds = 3 if signal == "KILL" else 1
    again = f"for round in $(seq {rounds}); do tree {pid}; kill -s {signal} $wanted 2>/dev/null || break; done"
    script = f"{TREE}\n{again}; true"
    with translating():
        await sandbox.commands.run(script, user=user, timeout=5, request_timeout=5)
