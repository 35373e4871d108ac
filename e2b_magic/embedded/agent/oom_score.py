"""In what order processes go when memory runs out, of the host or of the sandbox: programs first, the agent last.

A program inherits the agent's score, and what it starts in its first moment would be killed in turn with the agent, by
size. Before it is a program nobody can give its process a score: undumpable as the agent, it has files of root's in
`/proc`. So the agent raises its own, of which it holds the file, while the process comes to be, and the process
itself takes the agent's back before it becomes a program, wherever the agent has got to on a busy machine.
"""

from __future__ import annotations

import os

# Thousandths of all memory there is, as added to what a process has (proc_pid_oom_score_adj(5)).
FIRST, MIDDLE = 1000, 500
# Processes that are raised at once: what forks as fast as this looks is not to keep the agent.
MOST_RAISED = 256


class Order:
    """The agent's score and its programs'. It is made before the agent is undumpable: later the file is not its own."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._own = int(os.read(self._file, 16))
        self._lent = max(MIDDLE, self._own)
        self._children: set[int] = set()

    def lend(self) -> None:
        """Has what is forked now go before the agent; the agent goes after all programs still, but before `restore`."""
        os.pwrite(self._file, b"%d" % self._lent, 0)

    def restore(self) -> None:
        """Has the agent go last again."""
        os.pwrite(self._file, b"%d" % self._own, 0)

    def make_expendable(self, pid: int) -> None:
        """Makes a program the first to go, with all that it starts from now on and has started already.

        Args:
            pid: Its process.
        """
        children = set(_children_of(os.getpid()))
        # Whose parent has ended meanwhile is the agent's.
        waiting = [*(children - self._children), pid]
        self._children = children
        for _ in range(MOST_RAISED):
            if not waiting:
                break
            process = waiting.pop()
            if self._raise(process):
                waiting += _children_of(process)

    def _raise(self, pid: int) -> bool:
        """Makes a process the first to go, unless it has seen to its score itself; whether it was raised."""
        try:
            file = os.open(f"/proc/{pid}/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # it has ended already, or is a program that its user may run and not read
            return False
        try:
            lent = int(os.read(file, 16)) == self._lent
            if lent:
                os.pwrite(file, b"%d" % FIRST, 0)
        except OSError:  # it has ended meanwhile
            return False
        finally:
            os.close(file)
        return lent


def _children_of(pid: int) -> list[int]:
    """Gives the processes that a process has started, or none where the kernel does not list them."""
    try:
        file = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return [int(word) for word in os.read(file, 65536).split()]
    except OSError:  # it has ended meanwhile
        return []
    finally:
        os.close(file)
