"""The verb that makes a project: its files in the sandbox, and what it needs installed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2b_magic.client.background import OnEvent
from e2b_magic.client.history import HistoryVerbs
from e2b_magic.client.options import Unseen, Where
from e2b_magic.client.project_source import Content, ProjectSource
from e2b_magic.client.servers import ServerVerbs
from e2b_magic.client.transfers import OnProgress, TransferVerbs
from e2b_magic.client.trees.scanning import Tree
from e2b_magic.exceptions import E2BMagicError
from e2b_magic.records import Project
from e2b_magic.worker.protocol import Progress
from e2b_magic.worker.requests.base import check_project_name
from e2b_magic.worker.requests.jobs import check_port
from e2b_magic.worker.requests.projects import CompareFiles, SetupProject

_NAMED = 5


def _untold(done: int, total: int) -> None:
    """An `OnProgress` for callers who do not care."""


@dataclass(frozen=True, slots=True)
class _Setup:
    """One setup under way."""

    target: dict[str, Any]
    where: Where
    path: str
    user: str | None
    force: bool
    on_event: OnEvent | None
    on_progress: OnProgress

    def tell(self, text: str) -> None:
        if self.on_event is not None:
            self.on_event(Progress(text))


class ProjectVerbs(HistoryVerbs, TransferVerbs, ServerVerbs):
    """Making projects."""

    def setup_project(
        self,
        name: str,
        *,
        template: str | None = None,
        directory: str | Path | None = None,
        git: str | None = None,
        ref: str = "",
        files: Mapping[str, Content] | None = None,
        install: str | None = None,
        port: int | None = None,
        path: str | None = None,
        envs: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        force: bool = False,
        sandbox_template: str | None = None,
        on_progress: OnProgress = _untold,
        on_event: OnEvent | None = None,
    ) -> Project:
        """Makes a project's directory in its sandbox, brings its files, installs what it needs, and makes it current.

        Done again it brings what has changed here since; a file that was edited in the sandbox is left alone, and told.

        Args:
            name: The project's name.
            template: Begin with a project template; see `e2b_magic.project_templates`.
            directory: Begin with a directory of this machine; what its `.gitignore` files exclude is left out.
            git: Begin with a repository, which the sandbox clones.
            ref: Its branch or tag.
            files: Begin with these files: a mapping of names to their text or bytes.
            install: What to run in the directory then; the template's own when left out, nothing when empty.
            port: Where its dev server will listen; the template's when left out.
            path: The directory; one of the project's name in the user's home when left out.
            envs: Variables for git and the install command; their values are kept nowhere.
            user: The user inside the sandbox.
            timeout: Seconds after which git, or the install command, is killed.
            force: Replace what was edited in the sandbox, too.
            sandbox_template: The sandbox's template, should one have to be made.
            on_progress: Called with the bytes that have gone and those that there are.
            on_event: Called with progress and with what git and the install command write.

        Raises:
            InvalidRequestError: More than one source is given, or one cannot be meant.
            SetupError: The repository could not be cloned, or the install command failed; the files stay.
            KeyboardInterrupt: It was interrupted: what ran in the sandbox is ended; done again, it goes on.
        """
        check_port(port)
        source = ProjectSource(template, directory, git, files)
        begun = source.found_template()
        where: Where = {"project": check_project_name(name), "user": user}
        target: dict[str, Any] = self._work.target({"project": name, "template": sandbox_template})
        setup = _Setup(target, where, path or self._path(name), user, force, on_event, on_progress)
        fields: dict[str, Any] = {
            "git": git or "",
            "ref": ref,
            "install": (begun.install if begun else "") if install is None else install,
            "envs": Unseen(envs or {}),
            "timeout": timeout,
        }
        SetupProject(**target, path=setup.path, user=user, **fields)  # a slip shows before anything is done
        with self._recorded(name, str(source), setup.path, port or (begun.port if begun else None), begun):
            with source.tree() as tree:
                brought = {} if tree is None else self._bring_changes(setup, tree)
            target.update(self._work.target({"project": name}))  # which knows the sandbox now
            request = SetupProject(**target, path=setup.path, user=user, **fields, **brought)
            answer = self.ask(request, on_event)
            self._recorder.keep_project(name, path=answer["path"])
        return self.use_project(name)

    def _path(self, name: str) -> str:
        known = self._recorder.known(name)
        return known.path if known is not None and known.source else f"/home/user/{name}"

    @contextmanager
    def _recorded(self, name: str, source: str, path: str, port: int | None, begun: Any) -> Iterator[None]:
        """Stores how a setup stands, from its beginning to whatever end it comes to."""
        known = {"port": port} if port is not None else {}
        dev = {"dev": begun.dev} if begun is not None else {}
        keep = self._recorder.keep_project
        keep(name, state="setting up", reason="", source=source, path=path, **known, **dev)
        try:
            yield
        except E2BMagicError as error:
            keep(name, state="failed", reason=str(error))
            raise
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            keep(name, state="interrupted" if interrupted else "failed", reason=type(error).__name__)
            raise
        else:
            keep(name, state="ready", reason="", set_up_at=time.time())
        finally:
            self._recorder.touch(name)

    def _bring_changes(self, setup: _Setup, tree: Tree) -> dict[str, Any]:
        """Brings what has changed, and gives what the setup that follows has to know of the files."""
        checksums = {entry.name: entry.checksum for entry in tree.entries if entry.type != "dir"}
        request = CompareFiles(**setup.target, path=setup.path, user=setup.user, checksums=checksums)
        found = self.ask(request, setup.on_event)
        wanted = {*found["missing"], *found["changed"], *(found["edited"] if setup.force else ())}
        left = [] if setup.force else found["edited"]
        tree.entries = [entry for entry in tree.entries if entry.type == "dir" or entry.name in wanted]
        if wanted:
            self._bring(tree, found["path"], setup.where, setup.on_progress, setup.on_event)
        setup.tell(_described(len(wanted), len(checksums) - len(wanted) - len(left), len(found["gone"]), found["path"]))
        if left:
            setup.tell(f"Left alone, since edited in the sandbox: {_names(left)} (force replaces them)")
        for line in tree.left_out[:_NAMED]:
            setup.tell(f"Left out: {line}")
        # What was left alone stays known as it was not brought: it counts as edited the next time, too.
        kept = {name: checksum for name, checksum in checksums.items() if name not in left}
        return {"checksums": kept, "remove": found["gone"]}


def _described(brought: int, same: int, removed: int, path: str) -> str:
    parts = [f"Brought {brought:,} files to {path}"]
    if same:
        parts.append(f"{same:,} unchanged")
    if removed:
        parts.append(f"removed {removed:,}")
    return ", ".join(parts)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
