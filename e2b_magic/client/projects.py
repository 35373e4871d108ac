"""The verb that makes a project: its files in the sandbox, and what it needs installed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from e2b_magic.client.awaited_transfers import AwaitedTransferVerbs
from e2b_magic.client.background import OnEvent
from e2b_magic.client.history import HistoryVerbs
from e2b_magic.client.open_transfer import OnProgress, untold
from e2b_magic.client.options import TransferOptions, Unseen, Where
from e2b_magic.client.project_source import Content, ProjectSource, begins
from e2b_magic.client.servers import ServerVerbs
from e2b_magic.client.threads import in_thread, on_this_loop
from e2b_magic.client.trees.scanning import Tree
from e2b_magic.exceptions import E2BMagicError
from e2b_magic.quantities import counted
from e2b_magic.records import Project
from e2b_magic.worker.protocol import Progress
from e2b_magic.worker.requests.base import check_project_name
from e2b_magic.worker.requests.jobs import check_port
from e2b_magic.worker.requests.projects import CompareFiles, SetupProject

if TYPE_CHECKING:
    from e2b_magic.project_templates import ProjectTemplate

_NAMED = 5
"""How many files a line names."""


class SetupOptions(Where, total=False):
    """The options of `setup_project`.

    There is one source at most. `template` is a project template's name (see `e2b_magic.project_templates`);
    `directory` is one of this machine, without what its `.gitignore` files exclude; `git` is a repository, which the
    sandbox clones, and `ref` its branch or tag; `files` is a mapping of names to text or bytes.

    `install` is what to run in the directory then, the template's own when left out, nothing when empty. `port` is
    where the dev server will listen, the template's when left out. `path` is the directory, one of the project's name
    in the user's home when left out. `envs` are variables for git and the install command, whose values are kept
    nowhere. `timeout`, in seconds, kills either. `force=True` replaces what was edited in the sandbox, too.
    `sandbox_template` is used should a sandbox have to be made.
    """

    template: str | None
    directory: str | Path | None
    git: str | None
    ref: str
    files: Mapping[str, Content] | None
    install: str | None
    port: int | None
    path: str | None
    envs: Mapping[str, str] | None
    timeout: float | None
    force: bool
    sandbox_template: str | None


@dataclass(frozen=True, slots=True)
class _Setup:
    """One setup under way.

    Attributes:
        name: The project's name.
        source: Where its files come from.
        template: The project template, if that is where.
        options: What was asked for.
        target: The fields by which requests find the sandbox.
        path: The directory, as far as it is known.
        on_event: Takes progress and output.
        on_progress: Takes bytes.
    """

    name: str
    source: ProjectSource
    template: ProjectTemplate | None
    options: SetupOptions
    target: dict[str, Any]
    path: str
    on_event: OnEvent | None
    on_progress: OnProgress

    @property
    def where(self) -> dict[str, Any]:
        """The fields of a request on the project's directory."""
        return {**self.target, "path": self.path, "user": self.options.get("user")}

    def request(self, **files: Any) -> SetupProject:
        """Gives the request that makes the project ready.

        Raises:
            InvalidRequestError: What was asked for cannot be meant.
        """
        install = self.options.get("install")
        if install is None:
            install = self.template.install if self.template else ""
        return SetupProject(
            **self.where,
            **files,
            git=self.source.git or "",
            ref=self.options.get("ref") or "",
            install=install,
            envs=Unseen(self.options.get("envs") or {}),
            timeout=self.options.get("timeout"),
        )

    def record(self) -> dict[str, Any]:
        """Gives what is stored of the project when its setup begins."""
        port = self.options.get("port") or (self.template.port if self.template else None)
        known = {"port": port} if port is not None else {}
        dev = {"dev": self.template.dev} if self.template is not None else {}
        return {"state": "setting up", "reason": "", "source": str(self.source), **known, **dev}

    def tell(self, text: str) -> None:
        """Tells a line of progress."""
        if self.on_event is not None:
            self.on_event(Progress(text))


class ProjectVerbs(HistoryVerbs, AwaitedTransferVerbs, ServerVerbs):
    """Making projects."""

    def setup_project(
        self,
        name: str,
        *,
        on_progress: OnProgress = untold,
        on_event: OnEvent | None = None,
        **options: Unpack[SetupOptions],
    ) -> Project:
        """Makes a project's directory in its sandbox, brings its files, installs what it needs, and makes it current.

        Done again it brings what has changed here since; a file that was edited in the sandbox is left alone, and told.

        Args:
            name: The project's name.
            on_progress: Called with the bytes that have gone and those that there are.
            on_event: Called with progress and with what git and the install command write.
            options: See `SetupOptions`.

        Raises:
            InvalidRequestError: More than one source is given, or an option cannot be meant.
            SetupError: The repository could not be cloned, or the install command failed; the files stay.
            KeyboardInterrupt: It was interrupted: what ran in the sandbox is ended; done again, it goes on.
        """
        options["project"] = check_project_name(name)
        setup = self._prepared(name, self._here(options, SetupOptions), on_progress, on_event)
        setup.request()  # a slip shows before anything is done
        with self._recorded(setup):
            with setup.source.tree() as tree:
                brought = {} if tree is None else self._bring_changes(setup, tree)
            setup.target.update(self._work.target({"project": name}))  # which knows the sandbox now
            answer = self.ask(setup.request(**brought), on_event)
            self._recorder.keep_project(name, path=answer["path"])
        return self.use_project(name)

    async def asetup_project(
        self,
        name: str,
        *,
        on_progress: OnProgress = untold,
        on_event: OnEvent | None = None,
        **options: Unpack[SetupOptions],
    ) -> Project:
        """Does what `setup_project` does; to cancel it ends what runs in the sandbox."""
        told, heard = on_this_loop(on_progress), on_event and on_this_loop(on_event)
        return await in_thread(lambda: self.setup_project(name, on_progress=told, on_event=heard, **options))

    def _prepared(self, name: str, options: SetupOptions, on_progress: OnProgress, on_event: OnEvent | None) -> _Setup:
        check_port(options.get("port"))
        source = ProjectSource(
            options.get("template"), options.get("directory"), options.get("git"), options.get("files")
        )
        known = self._recorder.known(name)
        path = options.get("path") or (known.path if known is not None and known.set_up_at else name)
        target: dict[str, Any] = self._work.target({"project": name, "template": options.get("sandbox_template")})
        return _Setup(name, source, source.found_template(), options, target, path, on_event, on_progress)

    @contextmanager
    def _recorded(self, setup: _Setup) -> Iterator[None]:
        """Stores how a setup stands, from its beginning to whatever end it comes to."""
        keep, name = self._recorder.keep_project, setup.name
        keep(name, **setup.record())
        try:
            yield
        except E2BMagicError as error:
            keep(name, state="failed", reason=str(error))
            raise
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
            keep(name, state="interrupted" if interrupted else "failed", reason=type(error).__name__)
            raise
        else:
            keep(name, state="ready", reason="", set_up_at=time.time())
        finally:
            self._recorder.touch(name)

    def _bring_changes(self, setup: _Setup, tree: Tree) -> dict[str, Any]:
        """Brings what has changed, and gives what the setup that follows has to know of the files."""
        force = setup.options.get("force", False)
        checksums = {entry.name: entry.checksum for entry in tree.entries if entry.type != "dir"}
        found = self.ask(CompareFiles(**setup.where, checksums=checksums), setup.on_event)
        self._recorder.keep_project(setup.name, path=found["path"])
        halves = {name for name, (size, sum_) in found["unsure"].items() if begins(tree.root / name, size, sum_)}
        left = [name for name in found["edited"] if name not in halves and not force]
        wanted = {*found["missing"], *found["changed"], *found["edited"]}.difference(left)
        tree.entries = [entry for entry in tree.entries if entry.type == "dir" or entry.name in wanted]
        if wanted:
            options: TransferOptions = {
                "project": setup.name,
                "user": setup.options.get("user"),
                "on_progress": setup.on_progress,
                "on_event": setup.on_event,
            }
            self._bring(tree, found["path"], options)
        setup.tell(_described(len(wanted), len(checksums) - len(wanted) - len(left), len(found["gone"]), found["path"]))
        if left:
            setup.tell(f"Left alone, since edited in the sandbox: {_names(left)} (force replaces them)")
        for line in tree.left_out[:_NAMED]:
            setup.tell(f"Left out: {line}")
        # What was left alone stays known as it was not brought: it counts as edited the next time, too.
        kept = {name: checksums[name] for name in checksums.keys() - set(left)}
        return {"checksums": kept, "remove": found["gone"]}


def _described(brought: int, same: int, removed: int, path: str) -> str:
    parts = [f"Brought {counted(brought, 'file')} to {path}"]
    if same:
        parts.append(f"{same:,} unchanged")
    if removed:
        parts.append(f"removed {removed:,}")
    return ", ".join(parts)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
