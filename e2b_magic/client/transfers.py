"""The verbs that bring files and whole trees into a sandbox, and out of it.

Each opens a transfer, sends or asks for one piece after the other, and closes it; whatever goes wrong on the way, or a
Ctrl-C, discards it, and both sides are as they were. `on_progress` is called, in the thread that called, with the bytes
that have gone and those that there are.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Unpack

from e2b_magic.client.background import OnEvent
from e2b_magic.client.options import Where
from e2b_magic.client.trees.packing import pack, pieces_of
from e2b_magic.client.trees.scanning import Exclusions, Tree, entry_at, scan, with_checksum
from e2b_magic.client.trees.unpacking import Unpacking, replace_file
from e2b_magic.client.verbs import Verbs
from e2b_magic.exceptions import E2BMagicError, FileError, InvalidRequestError, RemoteFileNotFoundError, RemotePathError
from e2b_magic.records import TransferResult, TreeEntry
from e2b_magic.worker.protocol import binary
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.files import RemoveFile
from e2b_magic.worker.requests.transfers import (
    PIECE,
    CloseTransfer,
    ListTree,
    OpenDownload,
    OpenUpload,
    ReceivePiece,
    SendPiece,
)

OnProgress = Callable[[int, int], None]
"""Takes the bytes that have gone and those that there are."""


def _untold(done: int, total: int) -> None:
    """An `OnProgress` for callers who do not care."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The sandbox at the other end of a transfer, and the user there."""

    verbs: TransferVerbs
    target: dict[str, Any]
    user: str | None
    on_event: OnEvent | None

    def ask(self, kind: type[Request], **fields: Any) -> dict[str, Any]:
        return self.verbs.ask(kind(**self.target, **fields), self.on_event)

    def tree(self, path: str, *, checksums: bool = False) -> dict[str, Any]:
        return self.ask(ListTree, path=path, user=self.user, checksums=checksums)

    @contextmanager
    def transfer(self, kind: type[Request], **fields: Any) -> Iterator[_Transfer]:
        """Gives an open transfer, which is discarded when what is done with it fails."""
        opened = self.ask(kind, user=self.user, **fields)
        transfer = _Transfer(self, opened["transfer"])
        try:
            yield transfer
        except BaseException:
            with suppress(E2BMagicError):  # what is told is what went wrong first
                transfer.close(discard=True)
            raise


@dataclass(slots=True)
class _Transfer:
    """A transfer under way, from the client's side."""

    place: _Place
    id: str

    def send(self, pieces: Iterable[bytes], total: int, on_progress: OnProgress) -> str:
        """Sends all pieces, and gives the path at which they are then."""
        done = 0
        on_progress(0, total)
        for piece in pieces:
            self.place.ask(SendPiece, transfer=self.id, content=piece)
            done += len(piece)
            on_progress(min(done, total), total)
        path: str = self.close()["path"]
        return path

    def receive(self) -> bytes:
        return binary(self.place.ask(ReceivePiece, transfer=self.id)["content"])

    def close(self, *, discard: bool = False) -> dict[str, Any]:
        return self.place.ask(CloseTransfer, transfer=self.id, discard=discard)


class _Received(io.RawIOBase):
    """What a transfer brings, as a file to be read."""

    def __init__(self, transfer: _Transfer, total: int, on_progress: OnProgress) -> None:
        super().__init__()
        self._transfer = transfer
        self._total = total
        self._on_progress = on_progress
        self._piece = memoryview(b"")
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._piece:
            self._piece = memoryview(self._transfer.receive())
            self._done += len(self._piece)
            self._on_progress(min(self._done, self._total), self._total)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def _received(transfer: _Transfer, total: int, on_progress: OnProgress) -> IO[bytes]:
    return io.BufferedReader(_Received(transfer, total, on_progress), PIECE // 4)


class TransferVerbs(Verbs):
    """Bringing files and trees."""

    def upload(
        self,
        local: str | Path,
        remote: str | None = None,
        *,
        exclude: Sequence[str] = (),
        on_progress: OnProgress = _untold,
        on_event: OnEvent | None = None,
        **options: Unpack[Where],
    ) -> TransferResult:
        """Brings a file or a directory of this machine into the sandbox, and gives what was brought.

        Args:
            local: The file or directory.
            remote: Where it goes: a file's new path or the directory to put it in, or the directory that is to hold
                what the local one holds; the user's home, under its own name, when left out.
            exclude: What to leave out of a directory, in the language of `.gitignore`.
            on_progress: Called with the bytes that have gone and those that there are.
            on_event: Called with each piece of progress of the sandbox's own.
            options: See `Where`.

        Raises:
            InvalidRequestError: There is nothing at `local`.
            RemotePathError: A file stands where the tree is to go.
            NotEnoughSpaceError: The sandbox's disk is full.
            FileError: It cannot be read, or changed while it was.
        """
        path, began = _existing(local), time.perf_counter()
        place = self._place(options, on_event)
        with self._changing(place):
            if path.is_dir():
                tree = scan(path, Exclusions(exclude))
                at = _send_tree(place, tree, remote or _name_of(path), on_progress)
                return _result(at, tree.entries, began, left_out=tree.left_out)
            entry = entry_at(path.resolve(), path.name)
            if entry.type != "file":
                raise InvalidRequestError(f"{path} is neither file nor directory")
            name = _name_of(path)
            goal = remote or name
            goal += name if goal.endswith("/") else ""
            with place.transfer(OpenUpload, path=goal, name=name, mode=entry.mode) as transfer:
                at = transfer.send(pieces_of(path, PIECE), entry.size, on_progress)
            return _result(at, [entry], began)

    def download(
        self,
        remote: str,
        local: str | Path | None = None,
        *,
        exclude: Sequence[str] = (),
        on_progress: OnProgress = _untold,
        on_event: OnEvent | None = None,
        **options: Unpack[Where],
    ) -> TransferResult:
        """Brings a file or a directory of the sandbox to this machine, and gives what was brought.

        Nothing is written outside the destination, whatever the sandbox says: see `trees.unpacking`.

        Args:
            remote: The file or directory in the sandbox.
            local: Where it goes: a file's new path or the directory to put it in, or the directory that is to hold
                what the remote one holds; the working directory, under its own name, when left out.
            exclude: What to leave out of a directory, in the language of `.gitignore`.
            on_progress: Called with the bytes that have come and those that there are.
            on_event: Called with each piece of progress of the sandbox's own.
            options: See `Where`.

        Raises:
            RemoteFileNotFoundError: There is nothing at `remote`.
            FileError: It cannot be written here.
        """
        began, place = time.perf_counter(), self._place(options, on_event)
        found = place.tree(remote)
        name = PurePosixPath(found["path"]).name or "root"
        entries = [TreeEntry.from_json(entry) for entry in found["entries"]]
        if found["type"] == "dir":
            wanted = [entry for entry in entries if not _excluded(entry, Exclusions(exclude))] if exclude else entries
            destination = Path(name if local is None else local).expanduser()
            return _receive_tree(place, found["path"], wanted, destination, began, on_progress, some=bool(exclude))
        destination = Path(local or "").expanduser()
        if destination.is_dir() or str(local or "").endswith("/"):
            destination /= name
        with place.transfer(OpenDownload, path=remote) as transfer:
            on_progress(0, entries[0].size)
            with _local_errors(destination):
                destination.parent.mkdir(parents=True, exist_ok=True)
                size = replace_file(destination, _received(transfer, entries[0].size, on_progress))
            transfer.close()
        return TransferResult(path=str(destination), files=1, size=size, duration=time.perf_counter() - began)

    def sync_directory(
        self,
        local: str | Path,
        remote: str | None = None,
        *,
        exclude: Sequence[str] = (),
        gitignore: bool = True,
        delete: bool = False,
        checksum: bool = False,
        on_progress: OnProgress = _untold,
        on_event: OnEvent | None = None,
        **options: Unpack[Where],
    ) -> TransferResult:
        """Brings what has changed in a directory of this machine into the sandbox, and gives what was brought.

        A file has changed when its size or its time is another there, to the second.

        Args:
            local: The directory.
            remote: The directory in the sandbox; the local one's name in the user's home when left out.
            exclude: What to leave alone on both sides, in the language of `.gitignore`.
            gitignore: Leave alone, too, what the directory's `.gitignore` files exclude, and `.git`.
            delete: Remove what is there and no longer here.
            checksum: Compare the files' contents instead of their times, which means reading them.
            on_progress: Called with the bytes that have gone and those that there are.
            on_event: Called with each piece of progress of the sandbox's own.
            options: See `Where`.

        Raises:
            InvalidRequestError: `local` is no directory.
            RemotePathError: A file stands at `remote`.
        """
        path, began = _existing(local), time.perf_counter()
        exclusions = Exclusions(exclude, gitignore=gitignore)
        tree, place, goal = scan(path, exclusions), self._place(options, on_event), remote or _name_of(path)
        there = _there(place, goal, checksums=checksum)
        if checksum:
            tree.entries = [with_checksum(path, e) if e.type == "file" else e for e in tree.entries]
        here = {entry.name: entry for entry in tree.entries}
        gone = [name for name, e in there.items() if delete and name not in here and not _excluded(e, exclusions)]
        # What stands in the way goes too: a directory that is a file now, or the reverse.
        swapped = [name for name, entry in here.items() if name in there and there[name].type != entry.type]
        tree.entries = [e for e in tree.entries if e.name in swapped or _differs(e, there.get(e.name))]
        with self._changing(place):
            for name in _topmost([*gone, *swapped]):
                place.ask(RemoveFile, path=f"{goal.rstrip('/')}/{name}", user=place.user, recursive=True)
            at = _send_tree(place, tree, goal, on_progress) if tree.entries or not there else goal
        return _result(at, tree.entries, began, left_out=tree.left_out, removed=len(gone))

    def _bring(
        self, tree: Tree, remote: str, options: Where, on_progress: OnProgress, on_event: OnEvent | None
    ) -> None:
        """Brings just those of a tree's entries that are listed."""
        _send_tree(self._place(options, on_event), tree, remote, on_progress)

    def ask(self, request: Request, on_event: OnEvent | None = None) -> dict[str, Any]:
        """Gives the data that the worker answers a request with."""
        return self._submit(lambda emit: self._work.call(request, emit), on_event).wait()

    def _place(self, options: Where, on_event: OnEvent | None) -> _Place:
        here = self._here(options, Where)
        return _Place(self, self._work.target(here), here.get("user"), on_event)

    @contextmanager
    def _changing(self, place: _Place) -> Iterator[None]:
        """Lets no cached result hold any longer, whether what is done inside succeeds or not."""
        try:
            yield
        finally:
            self._recorder.touch(place.target["project_id"])


def _existing(local: str | Path) -> Path:
    path = Path(local).expanduser()
    if not path.exists():
        raise InvalidRequestError(f"There is nothing at {path} on this machine")
    return path


def _name_of(path: Path) -> str:
    return path.resolve().name or "root"


@contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    """Turns what this machine's file system refuses into one line."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{error.filename or path}: {error.strerror or error}") from None


def _send_tree(place: _Place, tree: Tree, remote: str, on_progress: OnProgress) -> str:
    total = sum(entry.size for entry in tree.entries)
    with place.transfer(OpenUpload, path=remote, archive=True) as transfer, _local_errors(tree.root):
        return transfer.send(pack(tree.root, tree.entries, PIECE), total, on_progress)


def _receive_tree(
    place: _Place,
    remote: str,
    entries: list[TreeEntry],
    destination: Path,
    began: float,
    on_progress: OnProgress,
    *,
    some: bool,
) -> TransferResult:
    total, unpacking = sum(entry.size for entry in entries), Unpacking(destination)
    names = [entry.name for entry in entries] if some else []
    with place.transfer(OpenDownload, path=remote, archive=True, names=names) as transfer:
        on_progress(0, total)
        unpacking.unpack(_received(transfer, total, on_progress))
        transfer.close()
    return TransferResult(
        path=str(destination),
        files=unpacking.files,
        size=unpacking.size,
        duration=time.perf_counter() - began,
        left_out=tuple(unpacking.left_out),
    )


def _there(place: _Place, path: str, *, checksums: bool) -> dict[str, TreeEntry]:
    try:
        found = place.tree(path, checksums=checksums)
    except RemoteFileNotFoundError:
        return {}
    if found["type"] != "dir":
        raise RemotePathError(f"{path} is a file: name a directory for the tree")
    return {entry["name"]: TreeEntry.from_json(entry) for entry in found["entries"]}


def _excluded(entry: TreeEntry, exclusions: Exclusions) -> bool:
    """Whether an entry, or a directory above it, is left out."""
    parts = entry.name.split("/")
    above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return any(exclusions.hold(name, directory=True) for name in above) or exclusions.hold(
        entry.name, directory=entry.type == "dir"
    )


def _topmost(names: Sequence[str]) -> list[str]:
    """Gives the names that lie below no other: to remove those removes all."""
    top: list[str] = []
    for name in sorted(names):
        if not top or not name.startswith(f"{top[-1]}/"):
            top.append(name)
    return top


def _differs(here: TreeEntry, there: TreeEntry | None) -> bool:
    if there is None or here.type != there.type:
        return True
    if here.type == "file":
        same = here.checksum == there.checksum if here.checksum else int(here.modified_at) == int(there.modified_at)
        return here.size != there.size or not same or here.mode != there.mode
    return here.type == "link" and here.target != there.target


def _result(
    path: str, entries: Sequence[TreeEntry], began: float, *, left_out: Sequence[str] = (), removed: int = 0
) -> TransferResult:
    files = [entry for entry in entries if entry.type != "dir"]
    return TransferResult(
        path=path,
        files=len(files),
        size=sum(entry.size for entry in files),
        duration=time.perf_counter() - began,
        removed=removed,
        left_out=tuple(left_out),
    )
