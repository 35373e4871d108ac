"""Freezes all that runs in a sandbox, in a way that nothing in it can undo.

Signals would not do. A stopped process goes on at a SIGCONT, and a timer that it has set beforehand sends it one;
the agent, which is inside, could not stop what has made itself undumpable. The kernel's freezer for control groups
would do, but few machines hand one to a user. So the server *traces* the sandbox, as a debugger does (ptrace(2),
`PTRACE_SEIZE`): a traced thread that is told to stop executes nothing more until its tracer lets it, whatever signals
come; and it sees nothing of it, where a stop by signal would show to its parent and stop every shell's job. Nothing of
the threads is read or changed.

The server may do that to processes whose user namespace is a child of its own user's, and as root. A thread traces for
itself alone, so each `Hold` has one. It ends with the hold, and when it ends, however that comes about, the kernel lets
everything go that it held.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

# Seconds that everything may take to stop; a few threads take a millisecond.
TIMEOUT = 10.0
# Seconds after which a thread that waits inside the kernel, as a parent does that has called vfork(2), counts as
# frozen: it has been told to stop, and does before it executes anything.
_PATIENCE = 0.5
_PAUSE = 0.0005
# Seconds between two looks at a sandbox in which something is traced from inside.
_WATCH = 1.0
# linux/ptrace.h
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_TRACE_FORK, _TRACE_VFORK, _TRACE_CLONE = 2, 4, 8
# linux/wait.h: of this thread's tracees, whatever they are, and of no other thread's.
_WAIT = os.WNOHANG | 0x40000000 | 0x20000000


class FreezeError(Exception):
    """A sandbox could not be frozen; everything in it runs on."""


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    libc.tgkill.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    return libc


def _status(thread: int) -> dict[str, str]:
    """Gives what proc(5) tells of a thread, by field; nothing of one that is gone."""
    try:
        lines = Path(f"/proc/{thread}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class Hold:
    """Everything of a sandbox, frozen from when `taken` is done until `let_go`.

    Args:
        agent: The process id of the sandbox's first process, whose process namespace says what belongs to it.

    Attributes:
        taken: Done when nothing runs any more.
        ended: Done when everything has been let go.

    Raises:
        FreezeError: In `taken`.
    """

    def __init__(self, agent: int) -> None:
        self.taken: Future[None] = Future()
        self.ended: Future[None] = Future()
        self._agent = agent
        self._libc = _libc()
        self._wanted = threading.Event()
        # By thread: the signal that it is to get when it goes on, or None as long as it has not stopped.
        self._held: dict[int, int | None] = {}
        # Those that something inside traces.
        self._foreign: dict[int, int] = {}
        threading.Thread(target=self._run, name="sandbox hold", daemon=True).start()

    def let_go(self) -> None:
        """Lets everything go on; `ended` is done when it does."""
        self._wanted.set()

    def _run(self) -> None:
        try:
            self._namespace = Path(f"/proc/{self._agent}/ns/pid").stat().st_ino
            self._freeze()
        except (OSError, FreezeError) as error:
            self.taken.set_exception(error if isinstance(error, FreezeError) else FreezeError(str(error)))
        else:
            self.taken.set_result(None)
            # What is traced from inside goes on when its tracer dies, which a timer may have been set to do.
            while not self._wanted.wait(_WATCH if self._foreign else None):
                with suppress(FreezeError):
                    self._freeze()
        finally:
            self._release()
            self.ended.set_result(None)

    def _threads(self) -> Iterator[tuple[int, int]]:
        """Gives each thread of the sandbox, and the process that it belongs to."""
        for process in (int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208 - names alone
            # What is another user's cannot be of the sandbox, and what is gone has no threads.
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if self._is_inside(process):
                    yield from ((int(name), process) for name in os.listdir(f"/proc/{process}/task"))  # noqa: PTH208 - names

    def _is_inside(self, process: int) -> bool:
        return Path(f"/proc/{process}/ns/pid").stat().st_ino == self._namespace

    def _freeze(self) -> None:
        """Returns when all is frozen.

        A thread that is held makes no new ones, and one that is told to stop while it makes one hands the new one over.
        So each round finds fewer, until there is a round that finds nothing new.
        """
        began = time.monotonic()
        while True:
            known = self._held.keys() | self._foreign.keys()
            found = [(thread, process) for thread, process in self._threads() if thread not in known]
            seized = [self._seize(thread, process) for thread, process in found]
            self._collect()
            waited = time.monotonic() - began
            if not any(seized) and not any(self._runs(thread, waited) for thread in [*self._held, *self._foreign]):
                return
            if waited > TIMEOUT:
                raise FreezeError(f"not everything in it stopped within {TIMEOUT:.0f} s")
            time.sleep(_PAUSE)

    def _ptrace(self, request: int, thread: int, data: int = 0) -> int:
        """Gives the error number of a call; 0 for none."""
        return 0 if self._libc.ptrace(request, thread, None, data) == 0 else ctypes.get_errno()

    def _seize(self, thread: int, process: int) -> bool:
        """Tells a thread to stop; whether there is one that can."""
        failed = self._ptrace(_SEIZE, thread, _TRACE_FORK | _TRACE_VFORK | _TRACE_CLONE)
        if failed == errno.ESRCH:
            return False
        if failed:
            return self._seize_otherwise(thread, process)
        self._held[thread] = None
        # Only now can the id not pass to another thread.
        if _status(thread) and not self._is_inside(thread):
            raise FreezeError("a process id changed hands")
        self._ptrace(_INTERRUPT, thread)
        return True

    def _seize_otherwise(self, thread: int, process: int) -> bool:
        """Sees to a thread that cannot be seized: it is dead, it is held already, or something inside traces it."""
        status = _status(thread)
        if not status or status["State"][0] in "ZX":
            return False
        tracer = int(status["TracerPid"])
        if tracer == threading.get_native_id():
            self._held[thread] = None  # made by a thread that was being seized, and stops by itself
        elif tracer:
            # Any signal stops it until its tracer looks, which is held: one that programs ignore to begin with.
            self._foreign[thread] = process
            self._libc.tgkill(process, thread, signal.SIGURG)
        else:
            raise FreezeError("this machine does not let the server trace its sandboxes (ptrace)")
        return True

    def _collect(self) -> None:
        """Takes note of who has stopped, and who has ended."""
        while True:
            try:
                thread, status = os.waitpid(-1, _WAIT)
            except ChildProcessError:
                return
            if thread == 0:
                return
            if os.WIFSTOPPED(status):
                # In the third byte is what stopped it; nothing, where it was about to be given a signal.
                self._held[thread] = 0 if status >> 16 else os.WSTOPSIG(status)
            else:
                self._held.pop(thread, None)

    def _runs(self, thread: int, waited: float) -> bool:
        """Whether a thread has not stopped yet."""
        if self._held.get(thread) is not None:
            return False
        state = _status(thread).get("State", "X")[0]
        if thread in self._foreign:
            if state in "ZX":
                del self._foreign[thread]
            elif state == "t":
                return False
            elif waited > _PATIENCE:
                # One that is blocked, perhaps in order not to be stopped. This one cannot be.
                self._libc.tgkill(self._foreign[thread], thread, signal.SIGSTOP)
            return state not in "ZX"
        return state not in "ZX" and (state != "D" or waited < _PATIENCE)

    def _release(self) -> None:
        """Lets everything go on, with the signals that came first."""
        self._collect()
        for thread, number in self._held.items():
            if number is not None:
                self._ptrace(_DETACH, thread, number)
        # The kernel lets go of the others when this thread ends, as it does at once.
