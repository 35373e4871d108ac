"""Starts bubblewrap: one thread that lives as long as the daemon, and what was found out about this machine.

`--die-with-parent` follows the *thread* that started bubblewrap, so all are started by one that never ends. Under a
daemon of root's the same thread has the mount namespace of `staging`.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from e2b_magic.embedded.containment import bubblewrap, leftover, seccomp, staging
from e2b_magic.embedded.containment.bundle import agent_bytecode
from e2b_magic.embedded.containment.cgroups import ControlGroups
from e2b_magic.embedded.containment.control_group import ControlGroup
from e2b_magic.embedded.containment.interpreter import Interpreter, bring_along, find_interpreter
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.own_files import OWN_FILES
from e2b_magic.embedded.containment.sealed import sealed
from e2b_magic.embedded.containment.state import StateDirectory
from e2b_magic.embedded.containment.tree import placements

T = TypeVar("T")
_ABANDONED_SECONDS = 5.0


@dataclass(slots=True)
class Launched:
    """A bubblewrap that was started.

    Attributes:
        bubblewrap: The process outside, which ends when all inside has ended.
        channel: The daemon's end of the socket to the agent.
        information: Where bubblewrap tells the agent's process id.
        complaints: Where bubblewrap, and the agent when it dies, say why.
        group: The sandbox's control group, nobody in it yet; None where there are none.
    """

    bubblewrap: subprocess.Popen[bytes]
    channel: socket.socket
    information: int
    complaints: int
    group: ControlGroup | None

    def abandon(self) -> None:
        """Ends what nobody can watch over, and returns when it is gone: the agent ends when its channel does."""
        self.channel.close()
        try:
            self.bubblewrap.wait(_ABANDONED_SECONDS)
        except subprocess.TimeoutExpired:
            self.bubblewrap.kill()
            self.bubblewrap.wait()
        os.close(self.information)
        os.close(self.complaints)
        if self.group is not None:
            self.group.end()


class Launcher:
    """What starts sandboxes on this machine; prepared once a daemon (`e2b_magic.embedded.sandbox.preflight.prepare`).

    Args:
        program: The bubblewrap to use.
        overlay: Whether `/usr` gets a writable layer.
        groups: The control groups that sandboxes get theirs in, which end with the launcher; None for none.
        without: Guards to leave out, by name; for tests alone.

    Attributes:
        path: The PATH that commands start with.
        groups: As given.
    """

    def __init__(
        self,
        program: Path,
        *,
        overlay: bool,
        groups: ControlGroups | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.overlay = overlay
        self.groups = groups
        self.undumpable = "undumpable" not in without
        self._without = without
        self._program = program
        self._interpreter = find_interpreter()
        self._brought: Interpreter | None = None
        search = self._interpreter.search_path
        self.path = f"{bubblewrap.PATH}:{search}" if search else bubblewrap.PATH
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # A daemon thread: it must not keep the process, and nothing must end it before.
        threading.Thread(target=self._work, name="sandbox launcher", daemon=True).start()
        self._stage = self._run(self._set_the_stage).result()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _run(self, do: Callable[[], T]) -> Future[T]:
        outcome: Future[T] = Future()

        def job() -> None:
            # Who asked may be gone. An answer would raise here, and end the thread, and all sandboxes with it.
            if not outcome.set_running_or_notify_cancel():
                return
            try:
                outcome.set_result(do())
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                outcome.set_exception(error)

        self._jobs.put(job)
        return outcome

    def _set_the_stage(self) -> staging.Stage:
        if os.geteuid() != 0:
            return staging.Open()
        try:
            stage = staging.Private()
        except PermissionError:
            # Root without the right to mount, as in most containers. The preflight says if something is out of reach.
            return staging.Open()
        self._program = _show_program(stage, self._program)
        shown = [
            (stage.show(outside, f"python{n}"), inside) for n, (outside, inside) in enumerate(self._interpreter.shown)
        ]
        self._interpreter = replace(self._interpreter, shown=tuple(shown))
        return stage

    @property
    def staged(self) -> bool:
        """Whether sandboxes reach their files through a mount namespace of the launcher's."""
        return isinstance(self._stage, staging.Private)

    @property
    def interpreter(self) -> Interpreter:
        """The agent's Python."""
        return self._interpreter

    async def launch(
        self, sandbox_id: str, state: StateDirectory, limits: Limits, tree: Path | None = None
    ) -> Launched:
        """Starts bubblewrap for a sandbox.

        Args:
            sandbox_id: The sandbox's; it names its place on the stage.
            state: Its directory.
            limits: What it may use.
            tree: The tree that stands in for the host's system; None for the host's.

        Raises:
            OSError: It could not be started.
            ContainmentError: The agent's interpreter cannot be brought into the tree.
        """
        return await asyncio.wrap_future(self._run(lambda: self._launch(sandbox_id, state, limits, tree)))

    async def forget(self, sandbox_id: str, tree: Path | None = None) -> None:
        """Takes a sandbox's directory from the stage: once the agent runs, it is needed there no more.

        Not before: to remove a mount point undoes what is mounted on it in every other namespace too.

        Args:
            sandbox_id: The sandbox's.
            tree: As it was launched with.
        """
        names = [f"sandbox-{sandbox_id}", *([f"tree-{sandbox_id}"] if tree is not None else [])]

        def hide() -> None:
            for name in names:
                self._stage.hide(name)

        await asyncio.wrap_future(self._run(hide))

    def _launch(self, sandbox_id: str, state: StateDirectory, limits: Limits, tree: Path | None) -> Launched:
        name = f"sandbox-{sandbox_id}"
        reachable = self._stage.show(state.path, name)
        with ExitStack() as ours, ExitStack() as theirs:
            ours.callback(self._stage.hide, name)
            end, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(end.close)
            theirs.callback(inner.close)
            information, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            ours.callback(os.close, information)
            theirs.callback(os.close, told)
            complaints, complained = os.pipe2(os.O_CLOEXEC)
            ours.callback(os.close, complaints)
            theirs.callback(os.close, complained)
            os.set_blocking(complaints, False)
            group = None if self.groups is None else self.groups.create(sandbox_id, limits)
            if group is not None:
                ours.callback(group.end)
            layout = self._layout(reachable, limits, told, theirs)
            if tree is not None:
                layout = self._on_tree(layout, tree, f"tree-{sandbox_id}", ours)
            process = self._start(layout, state, inner.fileno(), complained, theirs)
            ours.pop_all()
            return Launched(process, end, information, complaints, group)

    def _on_tree(self, layout: bubblewrap.Layout, tree: Path, name: str, closing: ExitStack) -> bubblewrap.Layout:
        """Gives a layout with a tree in place of the host's system."""
        if self._brought is None:
            brought = bring_along()
            shown = [(self._stage.show(path, f"brought{n}"), inside) for n, (path, inside) in enumerate(brought.shown)]
            self._brought = replace(brought, shown=tuple(shown))
        reachable = self._stage.show(tree, name)
        closing.callback(self._stage.hide, name)
        return replace(layout, usr=reachable / "usr", tree=tuple(placements(reachable)), interpreter=self._brought)

    def _layout(self, state: Path, limits: Limits, information: int, closing: ExitStack) -> bubblewrap.Layout:
        def hold(name: str, contents: bytes) -> int:
            descriptor = sealed(name, contents)
            closing.callback(os.close, descriptor)
            return descriptor

        data = {path: (hold("file", text.encode()), mode) for path, (text, mode) in OWN_FILES.items()}
        data[bubblewrap.AGENT] = (hold("agent", agent_bytecode()), 0o444)
        filter_program = None if "system calls" in self._without else seccomp.program()
        return bubblewrap.Layout(
            state=state,
            overlay=self.overlay,
            top_level=_top_level(),
            interpreter=self._interpreter,
            shared_memory_bytes=limits.shared_memory_total,
            boot_id=hold("boot", f"{uuid.uuid4()}\n".encode()),
            data=data,
            seccomp=None if filter_program is None else hold("filter", filter_program),
            information=information,
        )

    def _start(
        self, layout: bubblewrap.Layout, state: StateDirectory, channel: int, errors: int, closing: ExitStack
    ) -> subprocess.Popen[bytes]:
        arguments = sealed("arguments", bubblewrap.arguments(layout, without=self._without))
        closing.callback(os.close, arguments)
        data = [layout.boot_id, *(descriptor for descriptor, _ in layout.data.values())]
        passed = [arguments, channel, layout.information, *data]
        identity = state.identity
        return subprocess.Popen(
            [leftover.title(state.path), "--args", str(arguments), "--", *bubblewrap.command(layout, channel)],
            executable=self._program,
            # Nothing of the daemon's environment: /proc/1/environ would show it inside, whatever --clearenv does.
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=passed if layout.seccomp is None else [*passed, layout.seccomp],
            # A Ctrl-C in the daemon's terminal is not meant for sandboxes.
            start_new_session=True,
            user=None if identity is None else identity.uid,
            group=None if identity is None else identity.gid,
            extra_groups=None if identity is None else [],
        )

    def close(self) -> None:
        """Ends the launcher's thread, and with it every sandbox that it started."""
        self._jobs.put(None)
        if self.groups is not None:
            self.groups.close()


def _show_program(stage: staging.Stage, program: Path) -> Path:
    """Shows bubblewrap, and beside it the libraries that a wheel brings along, where the program looks for them."""
    package = program.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.is_dir():
        return stage.show(program, "bubblewrap/bwrap")
    stage.show(libraries, f"bubblewrap/{libraries.name}")
    return stage.show(program, f"bubblewrap/{package.name}/{program.parent.name}/{program.name}")


def _top_level() -> dict[str, str | None]:
    """Gives the host's `/bin` and the like: where each leads, or None for a directory of its own."""
    present = [path for name in bubblewrap.TOP_LEVEL if (path := Path("/") / name).is_dir()]
    return {path.name: str(path.readlink()) if path.is_symlink() else None for path in present}
