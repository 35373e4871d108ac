"""The verbs that bring files and whole trees into a sandbox, and out of it.

Each opens a transfer (`open_transfer`), sends or asks for one piece after the other, and closes it; whatever goes wrong
on the way, or a Ctrl-C, discards it, and both sides are as they were. `on_progress` is called, in the thread that
called, with the bytes that have gone and those that there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

from e2b_magic.client.background import Job, OnEvent
from e2b_magic.client.open_transfer import Place, untold
from e2b_magic.client.options import SyncOptions, TransferOptions
from e2b_magic.client.threads import wait_for
from e2b_magic.client.trees.comparing import differs, excluded, removable, topmost
from e2b_magic.client.trees.packing import Piece, pack, pieces_of
from e2b_magic.client.trees.placing import replace_file
from e2b_magic.client.trees.scanning import Exclusions, Finding, Tree, entry_at, scan, with_checksum
from e2b_magic.client.trees.unpacking import Unpacking
from e2b_magic.client.verbs import Verbs
from e2b_magic.exceptions import FileError, InvalidRequestError, RemoteFileNotFoundError, RemotePathError
from e2b_magic.records import TransferResult, TreeEntry
from e2b_magic.worker.protocol import Event
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.files import RemoveFile
from e2b_magic.worker.requests.transfers import OpenDownload, OpenUpload


async def _unheard(event: Event) -> None:
    """Takes the events of what nobody waits for."""


class TransferVerbs(Verbs):
    """Bringing files and trees."""

    def upload(
        self, local: str | Path, remote: str | None = None, **options: Unpack[TransferOptions]
    ) -> TransferResult:
        """Brings a file or a directory of this machine into the sandbox, and gives what was brought.

        Args:
            local: The file or directory.
            remote: Where it goes: a file's new path or the directory to put it in, or the directory that is to hold
                what the local one holds; the user's home, under its own name, when left out.
            options: See `TransferOptions`.

        Raises:
            InvalidRequestError: There is nothing at `local`.
            RemotePathError: A file stands where the tree is to go.
            NotEnoughSpaceError: The sandbox's disk is full.
            FileError: It cannot be read, or changed while it was.
        """
        path, began = _existing(local), time.perf_counter()
        place = self._place(options, TransferOptions)
        with self._changing(place):
            if path.is_dir():
                finding = Finding(path, Exclusions(options.get("exclude", ())))
                at = _send_tree(place, path, finding, lambda: finding.size, remote or _name_of(path))
                return _result(at, finding.tree.entries, began, left_out=finding.tree.left_out)
            entry = entry_at(path.resolve(), path.name)
            if entry.type != "file":
                raise InvalidRequestError(f"{path} is neither file nor directory")
            name = _name_of(path)
            goal = remote or name
            goal += name if goal.endswith("/") else ""
            fields = {"path": goal, "name": name, "mode": entry.mode}
            with place.transfer(OpenUpload, **fields) as transfer, _local_errors(path):
                at = transfer.send(pieces_of(str(path), entry.size), lambda: entry.size)
            return _result(at, [entry], began)

    def download(
        self, remote: str, local: str | Path | None = None, **options: Unpack[TransferOptions]
    ) -> TransferResult:
        """Brings a file or a directory of the sandbox to this machine, and gives what was brought.

        Nothing is written outside the destination, whatever the sandbox says: see `trees.unpacking`.

        Args:
            remote: The file or directory in the sandbox.
            local: Where it goes: a file's new path or the directory to put it in, or the directory that is to hold
                what the remote one holds; the working directory, under its own name, when left out.
            options: See `TransferOptions`.

        Raises:
            RemoteFileNotFoundError: There is nothing at `remote`.
            FileError: It cannot be written here.
        """
        began, place = time.perf_counter(), self._place(options, TransferOptions)
        exclude = options.get("exclude", ())
        wanted = _wanted(place, remote, exclude) if exclude else None
        if wanted == []:
            raise InvalidRequestError(f"{remote} holds nothing that is not excluded")
        names = [entry.name for entry in wanted or ()]
        with place.transfer(OpenDownload, path=remote, names=names) as transfer:
            opened = transfer.opened
            name = PurePosixPath(opened["path"]).name or "root"
            pieces = transfer.received(sum(entry.size for entry in wanted or ()))
            if opened["type"] == "dir":
                destination = Path(name if local is None else local).expanduser()
                result = _unpacked(pieces, destination)
            else:
                result = _written(pieces, Path(local or "").expanduser(), name, into=str(local or "").endswith("/"))
            transfer.discard()  # all of it is here: what goes wrong over there is no failure any more
        return replace(result, duration=time.perf_counter() - began)

    def upload_changes(
        self, local: str | Path, remote: str | None = None, **options: Unpack[SyncOptions]
    ) -> TransferResult:
        """Brings what has changed in a directory of this machine into the sandbox, and gives what was brought.

        A file has changed when its size or its time is another there, to the second.

        Args:
            local: The directory.
            remote: The directory in the sandbox; the local one's name in the user's home when left out.
            options: See `SyncOptions`.

        Raises:
            InvalidRequestError: `local` is no directory.
            RemotePathError: A file stands at `remote`.
        """
        path, began = _existing(local), time.perf_counter()
        place, goal = self._place(options, SyncOptions), remote or _name_of(path)
        exclusions = Exclusions(options.get("exclude", ()), gitignore=options.get("gitignore", True))
        delete, checksum = options.get("delete", False), options.get("checksum", False)
        tree = scan(path, exclusions)
        there = _there(place, goal, checksums=checksum)
        if checksum:
            tree.entries = [with_checksum(path, e) if e.type == "file" else e for e in tree.entries]
        here = {entry.name: entry for entry in tree.entries}
        gone = [name for name, e in there.items() if delete and name not in here and not excluded(e, exclusions)]
        gone, kept = removable(gone)
        # What stands in the way: a directory that is a file now, or the reverse. It goes when all else has been sent.
        swapped = [name for name, entry in here.items() if name in there and there[name].type != entry.type]
        tree.entries = [e for e in tree.entries if e.name in swapped or differs(e, there.get(e.name))]
        with self._changing(place):
            clear = partial(_remove, place, goal, swapped)
            at = _send_entries(place, tree, goal, before_it_lands=clear) if tree.entries or not there else goal
            _remove(place, goal, [name for name in topmost([*gone, *swapped]) if name not in swapped])
        left_out = [*tree.left_out, *(f"{name} cannot be removed, since its name is not UTF-8" for name in kept)]
        return _result(at, tree.entries, began, left_out=left_out, removed=len(gone))

    def _bring(self, tree: Tree, remote: str, options: TransferOptions) -> None:
        """Brings just those of a tree's entries that are listed."""
        _send_entries(self._place(options, TransferOptions), tree, remote)

    def ask(self, request: Request, on_event: OnEvent | None = None) -> dict[str, Any]:
        """Gives the data that the worker answers a request with."""
        return wait_for(self._asked(request, on_event))

    def _asked(self, request: Request, on_event: OnEvent | None) -> Job[dict[str, Any]]:
        return self._submit(lambda emit: self._work.call(request, emit), on_event)

    def _start_asking(self, request: Request) -> Future[dict[str, Any]]:
        return self.in_background(lambda: self._work.call(request, _unheard))

    def _place(self, options: TransferOptions, known: type[TransferOptions]) -> Place:
        here = self._here(options, known)
        return Place(
            submitting=self._asked,
            starting=self._start_asking,
            target=self._work.target(here),
            user=here.get("user"),
            on_event=here.get("on_event"),
            on_progress=here.get("on_progress", untold),
        )

    @contextmanager
    def _changing(self, place: Place) -> Iterator[None]:
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


def _send_entries(
    place: Place, tree: Tree, remote: str, *, before_it_lands: Callable[[], object] = lambda: None
) -> str:
    total = sum(entry.size for entry in tree.entries)
    return _send_tree(place, tree.root, tree.entries, lambda: total, remote, before_it_lands=before_it_lands)


def _send_tree(
    place: Place,
    root: Path,
    entries: Iterable[TreeEntry],
    total: Callable[[], int],
    remote: str,
    *,
    before_it_lands: Callable[[], object] = lambda: None,
) -> str:
    pieces = _followed(pack(root, entries), before_it_lands)
    with place.transfer(OpenUpload, path=remote, archive=True) as transfer, _local_errors(root):
        return transfer.send(pieces, total)


def _followed(pieces: Iterable[Piece], act: Callable[[], object]) -> Iterator[Piece]:
    """Gives pieces, and acts when the last of them has gone."""
    yield from pieces
    act()


def _remove(place: Place, root: str, names: Sequence[str]) -> None:
    for name in topmost(names):
        with suppress(RemoteFileNotFoundError):  # what is gone is gone
            place.ask(RemoveFile, path=f"{root.rstrip('/')}/{name}", user=place.user, recursive=True)


def _wanted(place: Place, remote: str, exclude: Sequence[str]) -> list[TreeEntry] | None:
    """Gives what of a directory is not excluded; None of a file."""
    found = place.tree(remote)
    if found["type"] != "dir":
        return None
    entries, exclusions = map(TreeEntry.from_json, found["entries"]), Exclusions(exclude)
    return [entry for entry in entries if not excluded(entry, exclusions)]


def _unpacked(pieces: Iterator[bytes], destination: Path) -> TransferResult:
    unpacking = Unpacking(destination)
    unpacking.unpack(pieces)
    return TransferResult(
        path=str(destination),
        files=unpacking.files,
        size=unpacking.size,
        duration=0.0,
        left_out=tuple(unpacking.left_out),
    )


def _written(pieces: Iterator[bytes], destination: Path, name: str, *, into: bool) -> TransferResult:
    if into or destination.is_dir():
        destination /= name
    with _local_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        size = replace_file(destination, pieces)
    return TransferResult(path=str(destination), files=1, size=size, duration=0.0)


def _there(place: Place, path: str, *, checksums: bool) -> dict[str, TreeEntry]:
    try:
        found = place.tree(path, checksums=checksums)
    except RemoteFileNotFoundError:
        return {}
    if found["type"] != "dir":
        raise RemotePathError(f"{path} is a file: name a directory for the tree")
    return {entry["name"]: TreeEntry.from_json(entry) for entry in found["entries"]}


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
