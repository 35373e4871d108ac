"""A project's files and what it needs, made ready in its sandbox.

What was brought is written down beside the project, by name and checksum (`~/.e2b-magic/setup`), so that a later setup
tells three things apart: a file that is there as it was brought, one that was edited in the sandbox since, and one that
the project no longer has. Only the first kind is replaced, and only what has not been edited is removed. What is about
to be brought is written down too: a setup that is ended on the way leaves files that nobody has edited.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from e2b import FileType
from e2b.exceptions import FileNotFoundException

from e2b_magic.exceptions import RemotePathError, SetupError
from e2b_magic.sandboxes.commands import Execution
from e2b_magic.sandboxes.files import leased, quoted, shell
from e2b_magic.sandboxes.finishing import finishing
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.worker.protocol import Emit, Progress
from e2b_magic.worker.requests.commands import ExecuteCommand
from e2b_magic.worker.requests.files import OnPath
from e2b_magic.worker.requests.projects import CompareFiles, SetupProject, link_checksum

# Of the names in a list, the checksums of those that are files, and where those lead that are links; in base64, since a
# name may hold anything but NUL.
_SUMS: Final = r"""
cd -- {path} || exit
xargs -0r bash -c 'for file; do [ -f "$file" ] && [ ! -L "$file" ] && printf "%s\0" "$file"; done; true' _ < {list} |
  xargs -0r sha256sum -z -- | base64 -w0
echo
xargs -0r bash -c 'for file; do [ -L "$file" ] && printf "%s\0%s\0" "$file" "$(readlink -- "$file")"; done; true' _ \
  < {list} | base64 -w0
"""
_SIZES: Final = r"""
cd -- {path} || exit
xargs -0r stat --printf '%s %n\0' -- < {list} | base64 -w0
"""
_REMOVE: Final = r"""
cd -- {path} || exit
xargs -0r rm -f -- < {list}
xargs -0r dirname -z -- < {list} | sort -zru | xargs -0r rmdir -p --ignore-fail-on-non-empty -- 2>/dev/null; true
"""
_CLONE: Final = r"""
export GIT_TERMINAL_PROMPT=0
if [ -e {path}/.git ]; then
  cd {path} || exit
  [ "$(git remote get-url origin)" = {url} ] || {{ echo "another repository was cloned there before" >&2; exit 1; }}
  git fetch --quiet origin {ref} && git merge --ff-only --quiet FETCH_HEAD
else
  git clone {branch} -- {url} {path}
fi
"""


async def _directory(lease: Lease, request: OnPath) -> str:
    """Gives a project's directory, made where it is not there, as an absolute path.

    Raises:
        RemotePathError: A file stands there.
    """
    files = lease.sandbox.files
    try:
        info = await files.get_info(request.path, user=request.user)
    except FileNotFoundException:
        await files.make_dir(request.path, user=request.user)
        info = await files.get_info(request.path, user=request.user)
    if info.type is not FileType.DIR:
        raise RemotePathError(f"{request.path} is a file: name a directory for the project")
    return info.path


@dataclass(frozen=True, slots=True)
class _Names:
    """A list of names in a file of the sandbox, for a script to read."""

    lease: Lease
    request: OnPath
    directory: str

    async def run(self, text: str, names: Iterable[str]) -> str:
        """Runs a script over names, and gives what it printed; nothing is left of them, whoever is cancelled."""
        return await finishing(self._run(text, names))

    async def _run(self, text: str, names: Iterable[str]) -> str:
        path = f"/tmp/.e2b-magic-{uuid.uuid4().hex}"  # noqa: S108  a path inside the sandbox, and unguessable there
        listed = "".join(f"./{name}\0" for name in names)
        await self.lease.sandbox.files.write(path, listed, user=self.request.user, request_timeout=0)
        trap = f"trap 'rm -f {path}' EXIT\n"
        script = trap + text.format(path=quoted(self.directory), list=path)
        return await shell(self.lease.sandbox, self.request, script)


@dataclass(frozen=True, slots=True)
class _Brought:
    """What is known of a directory's files, as checksums by name.

    Attributes:
        whole: Those that the last setup brought, which came to its end.
        begun: Those that others have begun to bring since.
    """

    whole: dict[str, str] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)

    def has(self, name: str, checksum: str | None) -> bool:
        """Whether a file is as a setup has brought it."""
        return checksum is not None and checksum in (self.whole.get(name), self.begun.get(name))


class _Manifest:
    """Where that is kept.

    Args:
        lease: The sandbox.
        directory: The directory.
        user: Whose it is.
    """

    def __init__(self, lease: Lease, directory: str, user: str | None) -> None:
        mark = hashlib.sha256(directory.encode()).hexdigest()[:16]
        self._path = f".e2b-magic/setup/{mark}.json"
        self._files = lease.sandbox.files
        self._user = user

    async def read(self) -> _Brought:
        try:
            found = json.loads(await self._files.read(self._path, user=self._user))
        except (FileNotFoundException, ValueError, RecursionError):
            return _Brought()  # nothing was brought, as far as can be told, and nothing of what is there is replaced
        kept = found if isinstance(found, dict) else {}
        return _Brought(_texts(kept.get("whole")), _texts(kept.get("begun")))

    async def write(self, brought: _Brought) -> None:
        kept = {"whole": brought.whole, "begun": brought.begun}
        await self._files.write(self._path, json.dumps(kept), user=self._user)


def _texts(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in pairs if isinstance(text, str)}


def _records(line: str) -> list[str]:
    return base64.b64decode(line).decode("utf-8", "replace").split("\0")[:-1]


async def _present(names: _Names, wanted: Iterable[str]) -> dict[str, str]:
    """Gives the checksums of those files, and of those links' targets, that are there."""
    files, _, links = (await names.run(_SUMS, wanted)).partition("\n")
    # A record of sha256sum is a sum, two characters and ./NAME.
    sums = {record[68:]: record[:64] for record in _records(files)}
    pairs = iter(_records(links))
    return sums | {name[2:]: link_checksum(target) for name, target in zip(pairs, pairs, strict=False)}


async def _with_sizes(names: _Names, checksums: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Gives the sizes of those files that are there still, in bytes, beside their checksums."""
    if not checksums:
        return {}
    told = [record.partition(" ") for record in _records(await names.run(_SIZES, checksums))]
    return {name[2:]: (int(size), checksums[name[2:]]) for size, _, name in told}


async def compare(manager: SandboxManager, request: CompareFiles, emit: Emit) -> dict[str, Any]:
    """Gives what `CompareFiles` says of the files, and the directory's `path`; it is made.

    What is missing or changed is taken for begun from here on: whoever asks is about to bring it.
    """
    async with leased(manager, request, emit) as lease:
        directory = await _directory(lease, request)
        manifest, names = _Manifest(lease, directory, request.user), _Names(lease, request, directory)
        brought, wanted = await manifest.read(), request.checksums
        there = await _present(names, wanted.keys() | brought.whole.keys() | brought.begun.keys())
        missing = [name for name in wanted if name not in there]
        other = [name for name in wanted if name in there and there[name] != wanted[name]]
        changed = [name for name in other if brought.has(name, there[name])]
        edited = [name for name in other if not brought.has(name, there[name])]
        unsure = await _with_sizes(names, {name: there[name] for name in edited if name in brought.begun})
        if begun := {name: wanted[name] for name in [*missing, *changed, *unsure]}:
            await manifest.write(_Brought(brought.whole, brought.begun | begun))
        return {
            "path": directory,
            "missing": missing,
            "changed": changed,
            "edited": edited,
            "unsure": unsure,
            "gone": [name for name, sum_ in there.items() if name not in wanted and brought.has(name, sum_)],
        }


async def setup(manager: SandboxManager, request: SetupProject, emit: Emit) -> dict[str, Any]:
    """Makes a project ready and gives its directory's `path`.

    Raises:
        SetupError: The repository could not be cloned, or the install command failed.
        CommandTimeoutError: One of the two took too long.
    """
    async with leased(manager, request, emit) as lease:
        if request.git:
            await _fetch(manager, lease, request, emit)
        directory = await _directory(lease, request)
        if request.remove:
            await _Names(lease, request, directory).run(_REMOVE, request.remove)
        if request.checksums or request.remove:
            await _Manifest(lease, directory, request.user).write(_Brought(whole=request.checksums))
        if request.install:
            await emit(Progress(f"Installing: {request.install}"))
            await _run(manager, lease, request, request.install, emit, "The install command", cwd=directory)
        return {"path": directory}


async def _fetch(manager: SandboxManager, lease: Lease, request: SetupProject, emit: Emit) -> None:
    await emit(Progress(f"Fetching {request.git}"))
    command = _CLONE.format(
        path=quoted(request.path),
        url=shlex.quote(request.git),
        ref=shlex.quote(request.ref) if request.ref else "",
        branch=f"--branch {shlex.quote(request.ref)}" if request.ref else "",
    )
    await _run(manager, lease, request, command, emit, "git", cwd=None)


async def _run(
    manager: SandboxManager,
    lease: Lease,
    request: SetupProject,
    command: str,
    emit: Emit,
    what: str,
    *,
    cwd: str | None,
) -> None:
    running = Execution(
        manager,
        lease,
        ExecuteCommand(
            project_id=request.project_id,
            command=command,
            cwd=cwd,
            envs=request.envs,
            user=request.user,
            timeout=request.timeout,
        ),
        emit,
    )
    code = (await running.run())["exit_code"]
    if code:
        said = (running.stderr.text().strip() or running.stdout.text().strip()).splitlines()
        raise SetupError(f"{what} failed with exit code {code}{f': {said[-1][:300]}' if said else ''}")
