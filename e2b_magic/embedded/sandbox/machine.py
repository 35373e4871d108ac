"""A contained machine from its start to its end: bubblewrap outside, the agent inside, the channel between.

Whatever ends first (bubblewrap, the agent, or the agent's good manners), everything ends, and `ended` tells why.

The last process that leaves a mount namespace unmounts what is in it, and to unmount an overlay is to write all that
the file system beneath has in memory, the host's own files too. So the daemon holds the namespace, and lets go of it in
a thread when every process is dead: who kills a sandbox waits for them, and only who wants its files for the disk.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

from e2b_magic.embedded.containment.bubblewrap import PATH
from e2b_magic.embedded.containment.control_group import ControlGroup
from e2b_magic.embedded.containment.launcher import Launched, Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.state import StateDirectory
from e2b_magic.embedded.sandbox.channel import ENDED, Channel, Gone, Refused
from e2b_magic.embedded.sandbox.entries import AgentError
from e2b_magic.embedded.sandbox.freezer import Freezer
from e2b_magic.exceptions import ContainmentError

T = TypeVar("T")
# Seconds that a machine under load may take to start one; it takes 20 ms on an idle one.
START_TIMEOUT = 30.0
# Seconds after which a sandbox that was killed is given up to bubblewrap's own end.
KILL_TIMEOUT = 5.0
COMPLAINT_BYTES = 4096
OUT_OF_MEMORY = "its memory was used up, and the kernel killed its first process"
# How bubblewrap tells that the agent was killed, which nothing inside can do.
_KILLED = 128 + signal.SIGKILL
_CHILD = re.compile(rb'"child-pid": *(\d+)')


class Machine:
    """What runs a sandbox.

    Args:
        state: Its directory, which is let go of at the end.
        launched: Its bubblewrap.
        told: Called with each message of the agent's that answers no question.
        launcher: What started it.

    Raises:
        OSError: The daemon has no descriptor left to hold it by.

    Attributes:
        state: Its directory.
        group: Its control group; None where there are none.
        agent: The agent's process id; 0 before there is one, and at the end.
        dead: Resolves when no process of it is left.
        ended: Resolves with the reason, in a few words, when all of it is gone, its mounts too.
    """

    def __init__(
        self, state: StateDirectory, launched: Launched, told: Callable[[dict[str, Any]], None], launcher: Launcher
    ) -> None:
        loop = asyncio.get_running_loop()
        self.state = state
        self.group = launched.group
        self.agent = 0
        self._groups = launcher.groups
        self._freezer: Freezer | None = None
        self.dead: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._told_later = told
        self._launched = launched
        self._ready: asyncio.Future[None] = loop.create_future()
        self._reason = ""
        self._agent: int | None = None
        self._mounts: int | None = None
        # First, since it may fail: nothing listens yet.
        self._bubblewrap = os.pidfd_open(launched.bubblewrap.pid)
        self._channel = Channel(launched.channel, self._told, self._end)
        loop.add_reader(self._bubblewrap, self._bubblewrap_ended)

    @classmethod
    async def start(
        cls,
        *,
        sandbox_id: str,
        directory: Path,
        envs: Mapping[str, str],
        limits: Limits,
        launcher: Launcher,
        told: Callable[[dict[str, Any]], None],
        tree: Path | None = None,
    ) -> Self:
        """Starts one; the arguments are those of `Sandbox.start`, and `told`.

        Raises:
            ContainmentError: This machine cannot contain it.
            ConfigurationError: The directory is another sandbox's.
        """
        usr = Path("/usr") if tree is None else tree / "usr"
        state = StateDirectory.open(directory, usr=usr)
        settings = {
            "undumpable": launcher.undumpable,
            "limits": limits.kept_inside(launcher.groups.controllers if launcher.groups is not None else ()),
            "path": launcher.path if tree is None else PATH,
            "envs": {**envs, "E2B_SANDBOX": "true", "E2B_SANDBOX_ID": sandbox_id},
        }
        starting = asyncio.ensure_future(cls._start(sandbox_id, state, limits, launcher, told, settings, tree))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # What was begun is carried to where it can be ended whole: it takes milliseconds.
            await asyncio.shield(asyncio.ensure_future(_undo(starting)))
            raise

    @classmethod
    async def _start(
        cls,
        sandbox_id: str,
        state: StateDirectory,
        limits: Limits,
        launcher: Launcher,
        told: Callable[[dict[str, Any]], None],
        settings: Mapping[str, Any],
        tree: Path | None,
    ) -> Self:
        try:
            launched = await launcher.launch(sandbox_id, state, limits, tree)
        except OSError as error:
            state.close()
            raise ContainmentError(f"bubblewrap could not be started: {error}.") from error
        except BaseException:
            state.close()
            raise
        try:
            machine = cls(state, launched, told, launcher)
        except OSError as error:
            await asyncio.to_thread(launched.abandon)
            await launcher.forget(sandbox_id, tree)
            state.close()
            raise ContainmentError(f"A sandbox could not be watched over: {error}.") from error
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await machine._begin(settings)
        except TimeoutError:
            await machine.kill()
            raise ContainmentError(f"A sandbox did not start within {START_TIMEOUT:.0f} seconds.") from None
        except BaseException:
            await machine.kill()
            raise
        finally:
            await launcher.forget(sandbox_id, tree)
        return machine

    async def _begin(self, settings: Mapping[str, Any]) -> None:
        self._agent = await self._find_agent()
        self._mounts = _hold_mounts(self.agent)
        if self.group is not None:
            await self._enter(self.group)
        with suppress(Gone):  # why it is gone, `_ready` tells
            self._channel.tell(settings)
        await self._ready

    async def _enter(self, group: ControlGroup) -> None:
        """Puts the agent into its group before it is told anything: until then it starts nothing."""
        try:
            # In a thread, for the kernel may wait there for every processor.
            await asyncio.to_thread(group.add, self.agent)
        except ProcessLookupError:
            return  # it has ended; why, `_ready` tells
        except OSError as error:
            raise ContainmentError(f"A sandbox could not be put into its control group: {error}.") from error

    async def _find_agent(self) -> int:
        """Gives a descriptor of the agent's process, by the id that bubblewrap tells as soon as there is one."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._launched.information, lambda: None if told.done() else told.set_result(None))
        try:
            await asyncio.wait({told, self._ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._launched.information)
        agent = None if self._ready.done() else self._told_agent()
        if agent is None:
            await self._ready  # it ended at once, and so does bubblewrap, which says why
            raise ContainmentError("The process that bubblewrap started ended at once.")
        return agent

    def _told(self, message: dict[str, Any]) -> None:
        if message == {"ready": True} and not self._ready.done():
            self._ready.set_result(None)
        else:
            self._told_later(message)

    def _end(self, reason: str) -> None:
        """Ends it all; when bubblewrap is gone too, `ended` says so."""
        self._reason = self._reason or reason
        self._channel.close()
        if self.dead.done():
            return
        if self._agent is None:
            asyncio.get_running_loop().add_reader(self._launched.information, self._end_early)
        else:
            # The agent's end takes everything inside with it, and bubblewrap waits for that. To kill bubblewrap
            # instead would leave a moment in which all inside is still alive.
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._agent, signal.SIGKILL)
            if self._freezer is not None:
                self._freezer.let_die()

    def _end_early(self) -> None:
        """Ends what is only starting, once bubblewrap has told what it started.

        Killed before that, bubblewrap would leave a child that waits for it for ever: it asks the kernel to die with
        its parent only after its parent has let it go on.
        """
        asyncio.get_running_loop().remove_reader(self._launched.information)
        self._agent = self._told_agent()
        if self._agent is not None:
            self._end(self._reason)

    def _told_agent(self) -> int | None:
        """Gives a descriptor of the agent's process, by the id that bubblewrap told; None when it is gone."""
        # The object comes in several writes, of which the first ends with this number; the rest is of no use here.
        found = _CHILD.search(os.read(self._launched.information, 4096))
        held = None if found is None else _hold(int(found[1]), self._launched.bubblewrap.pid)
        self.agent = 0 if found is None or held is None else int(found[1])
        return held

    def _bubblewrap_ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._bubblewrap)
        loop.remove_reader(self._launched.information)
        code = self._launched.bubblewrap.wait()
        self._reason = self._reason or ENDED
        if self._reason == ENDED and code == _KILLED and self._was_short_of_memory():
            self._reason = OUT_OF_MEMORY
        self._channel.close()
        complaint = self._complaint()
        for descriptor in (self._bubblewrap, self._agent, self._launched.information, self._launched.complaints):
            if descriptor is not None:
                os.close(descriptor)
        self._agent, self.agent = None, 0
        if self.group is not None and self._groups is not None:
            self._groups.discard(self.group)
        if not self._ready.done():
            self._ready.set_exception(ContainmentError(f"A sandbox could not be started: {complaint or self._reason}."))
            self._ready.exception()  # seen: who starts it may have been cancelled meanwhile
        self.dead.set_result(None)
        if self._mounts is None:
            self._gone()
        else:
            # A thread of its own: on a busy disk it may take seconds, in which no other work is to want for threads.
            unmounting = (self._mounts, lambda: loop.call_soon_threadsafe(self._gone))
            threading.Thread(target=_unmount, args=unmounting, name="sandbox unmounting", daemon=True).start()

    def _was_short_of_memory(self) -> bool:
        try:
            usage = None if self.group is None else self.group.usage()
        except OSError:  # the group is gone
            return False
        return usage is not None and usage.killed_for_memory > 0

    def _gone(self) -> None:
        """Lets go of the directory, which another sandbox may have from now on."""
        self.state.close()
        self.ended.set_result(self._reason)

    def _complaint(self) -> str:
        """Gives the last line that bubblewrap, or the dying agent, had to say."""
        try:
            text = os.read(self._launched.complaints, COMPLAINT_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return ""
        lines = text.strip().splitlines()
        return lines[-1] if lines else ""

    async def kill(self, reason: str = "it was killed", *, unmounted: bool = True) -> None:
        """Ends it; the directory stays.

        Args:
            reason: Why, in a few words.
            unmounted: Whether to return only when all of it is gone; else when all of it is dead and reaped.
        """
        self._end(reason)
        done, _ = await asyncio.wait({self.dead}, timeout=KILL_TIMEOUT)
        if not done:
            self._launched.bubblewrap.kill()
            await asyncio.shield(self.dead)
        if unmounted:
            await asyncio.shield(self.ended)

    async def freeze(self) -> None:
        """Stops everything inside, the agent too, until `thaw`; questions to the agent are answered after that.

        Raises:
            AgentError: It is gone.
            FreezeError: This machine does not let the server do that.
        """
        if self._agent is None or self.dead.done():
            raise AgentError("gone", "the sandbox has ended")
        freezer = self._freezer = Freezer(self.agent, self.group)
        try:
            await freezer.freeze()
        except BaseException:
            self._freezer = None
            raise
        if self._reason:  # killed in this very moment
            freezer.let_die()
            raise AgentError("gone", "the sandbox has ended")

    async def thaw(self) -> None:
        """Lets everything go on; of an ended machine, nothing."""
        freezer, self._freezer = self._freezer, None
        if freezer is not None:
            await freezer.thaw()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tells the agent what it need not answer; of an ended machine, nothing."""
        with suppress(Gone):
            self._channel.tell(message)

    async def ask(
        self,
        do: str,
        accept: Callable[[Any, int | None], T],
        *,
        descriptors: Sequence[int] = (),
        descriptor: bool = False,
        abandon: Callable[[T], object] | None = None,
        **given: Any,
    ) -> T:
        """Gives what `accept` makes of the agent's answer (see `Channel.ask`).

        Raises:
            AgentError: The agent could not do it, or is gone.
        """
        try:
            return await self._channel.ask(
                do, given, accept, descriptors=descriptors, descriptor=descriptor, abandon=abandon
            )
        except Refused as refused:
            raise AgentError(refused.code, str(refused)) from None
        except Gone:
            raise AgentError("gone", "the sandbox has ended") from None


def _hold(pid: int, parent: int) -> int | None:
    """Gives a descriptor of a process, if it is that parent's child; None when it is gone.

    Once it is held, the id can no longer pass to another process; that it had not before, its parent shows.
    """
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if psutil.Process(pid).ppid() == parent:
            return held
    except psutil.NoSuchProcess:
        pass  # and then reaped
    os.close(held)
    return None


def _hold_mounts(pid: int) -> int | None:
    """Gives a descriptor of a process's mount namespace; None where the kernel does not let the daemon have it.

    By what then has the id, should the process be gone: to hold any namespace does nothing but keep it.
    """
    try:
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _unmount(mounts: int, done: Callable[[], object]) -> None:
    """Lets go of a mount namespace that no process is in any more, which waits for the disk."""
    os.close(mounts)
    with suppress(RuntimeError):  # the loop is closed: the daemon ends
        done()


async def _undo(starting: Awaitable[Machine]) -> None:
    """Ends a machine that nobody waits for any more, as soon as it has started."""
    with suppress(ContainmentError):  # it did not start: all the better
        await (await starting).kill()
