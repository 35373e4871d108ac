"""The verbs on files in a project's sandbox."""

from __future__ import annotations

from typing import Unpack

from e2b_magic.client.background import OnEvent
from e2b_magic.client.options import FindOptions, Where, WriteOptions
from e2b_magic.client.verbs import Verbs
from e2b_magic.exceptions import RemotePathError
from e2b_magic.records import FileEntry, Found

READ_LIMIT = 64 * 1024 * 1024
"""The largest file that `read_file` gives unless told otherwise, in bytes."""


class FileVerbs(Verbs):
    """Reading and writing files."""

    def write_file(
        self, path: str, content: str | bytes, *, on_event: OnEvent | None = None, **options: Unpack[WriteOptions]
    ) -> FileEntry:
        """Writes a file in the sandbox, making the directories above it, and gives its entry.

        Args:
            path: Absolute, or relative to the user's home; `~` is understood.
            content: The file's new content; text is written as UTF-8.
            on_event: Called with each piece of progress.
            options: See `WriteOptions`.

        Raises:
            RemotePathError: A directory stands at the path.
            NotEnoughSpaceError: The sandbox's disk is full.
        """
        here = self._here(options, WriteOptions)
        return self._submit(lambda emit: self._work.write(path, content, here, emit), on_event).wait()

    async def awrite_file(
        self, path: str, content: str | bytes, *, on_event: OnEvent | None = None, **options: Unpack[WriteOptions]
    ) -> FileEntry:
        """Does what `write_file` does."""
        here = self._here(options, WriteOptions)
        return await self._submit(lambda emit: self._work.write(path, content, here, emit), on_event).wait_async()

    def read_file(
        self, path: str, *, limit: int = READ_LIMIT, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> bytes:
        """Gives the content of a file in the sandbox.

        Args:
            path: Absolute, or relative to the user's home; `~` is understood.
            limit: The largest file to read, in bytes.
            on_event: Called with each piece of progress.
            options: See `Where`.

        Raises:
            RemoteFileNotFoundError: There is nothing at the path.
            RemotePathError: A directory stands there.
            FileTooLargeError: The file is larger than `limit`.
        """
        here = self._here(options, Where)
        return self._submit(lambda emit: self._work.read(path, limit, here, emit), on_event).wait()

    async def aread_file(
        self, path: str, *, limit: int = READ_LIMIT, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> bytes:
        """Does what `read_file` does."""
        here = self._here(options, Where)
        return await self._submit(lambda emit: self._work.read(path, limit, here, emit), on_event).wait_async()

    def read_text(
        self, path: str, *, limit: int = READ_LIMIT, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> str:
        """Gives the text of a file in the sandbox; see `read_file`.

        Raises:
            RemotePathError: The file is not UTF-8 text.
        """
        return _text(path, self.read_file(path, limit=limit, on_event=on_event, **options))

    async def aread_text(
        self, path: str, *, limit: int = READ_LIMIT, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> str:
        """Does what `read_text` does."""
        return _text(path, await self.aread_file(path, limit=limit, on_event=on_event, **options))

    def list_files(
        self, path: str = "~", *, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> list[FileEntry]:
        """Gives the entries of a directory in the sandbox, directories first.

        Raises:
            RemoteFileNotFoundError: There is nothing at the path.
            RemotePathError: A file stands there.
        """
        here = self._here(options, Where)
        return self._submit(lambda emit: self._work.list_directory(path, here, emit), on_event).wait()

    async def alist_files(
        self, path: str = "~", *, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> list[FileEntry]:
        """Does what `list_files` does."""
        here = self._here(options, Where)
        return await self._submit(lambda emit: self._work.list_directory(path, here, emit), on_event).wait_async()

    def remove_file(
        self, path: str, *, recursive: bool = False, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> FileEntry:
        """Removes a file in the sandbox, or a directory with all in it, and gives the entry that it was.

        Raises:
            RemoteFileNotFoundError: There is nothing at the path.
            RemotePathError: A directory stands there and `recursive` is not given.
        """
        here = self._here(options, Where)
        return self._submit(lambda emit: self._work.remove(path, recursive, here, emit), on_event).wait()

    def rename_file(
        self, path: str, to: str, *, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> FileEntry:
        """Moves a file or directory in the sandbox, as `mv` does, and gives its new entry.

        Args:
            path: What is moved.
            to: Its new path; in a directory that stands there it keeps its name.
            on_event: Called with each piece of progress.
            options: See `Where`.

        Raises:
            RemoteFileNotFoundError: There is nothing at the path.
            FileError: It cannot be moved there.
        """
        here = self._here(options, Where)
        return self._submit(lambda emit: self._work.rename(path, to, here, emit), on_event).wait()

    def copy_file(
        self, path: str, to: str, *, recursive: bool = False, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> FileEntry:
        """Copies a file in the sandbox, or a directory with all in it, as `cp -a` does, and gives the copy's entry.

        Args:
            path: What is copied.
            to: The copy's path; in a directory that stands there the name is kept.
            recursive: Whether a directory may be copied.
            on_event: Called with each piece of progress.
            options: See `Where`.

        Raises:
            RemoteFileNotFoundError: There is nothing at the path.
            RemotePathError: A directory stands there and `recursive` is not given.
            FileError: It cannot be copied there.
        """
        here = self._here(options, Where)
        return self._submit(lambda emit: self._work.copy(path, to, recursive, here, emit), on_event).wait()

    def make_directory(self, path: str, *, on_event: OnEvent | None = None, **options: Unpack[Where]) -> FileEntry:
        """Makes a directory in the sandbox, and those above it, and gives its entry; one that is there is fine.

        Raises:
            RemotePathError: A file stands at the path.
        """
        here = self._here(options, Where)
        return self._submit(lambda emit: self._work.make_directory(path, here, emit), on_event).wait()

    def find_files(self, path: str = "~", *, on_event: OnEvent | None = None, **options: Unpack[FindOptions]) -> Found:
        """Gives the entries below a directory in the sandbox, by path; `more` says whether the limit cut them short.

        Args:
            path: Where to look.
            on_event: Called with each piece of progress.
            options: See `FindOptions`.

        Raises:
            RemoteFileNotFoundError: There is nothing at the path.
            RemotePathError: A file stands there.
        """
        here = self._here(options, FindOptions)
        return self._submit(lambda emit: self._work.find(path, here, emit), on_event).wait()

    async def aremove_file(
        self, path: str, *, recursive: bool = False, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> FileEntry:
        """Does what `remove_file` does."""
        here = self._here(options, Where)
        return await self._submit(lambda emit: self._work.remove(path, recursive, here, emit), on_event).wait_async()

    async def arename_file(
        self, path: str, to: str, *, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> FileEntry:
        """Does what `rename_file` does."""
        here = self._here(options, Where)
        return await self._submit(lambda emit: self._work.rename(path, to, here, emit), on_event).wait_async()

    async def amake_directory(
        self, path: str, *, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> FileEntry:
        """Does what `make_directory` does."""
        here = self._here(options, Where)
        return await self._submit(lambda emit: self._work.make_directory(path, here, emit), on_event).wait_async()

    async def acopy_file(
        self, path: str, to: str, *, recursive: bool = False, on_event: OnEvent | None = None, **options: Unpack[Where]
    ) -> FileEntry:
        """Does what `copy_file` does."""
        here = self._here(options, Where)
        return await self._submit(lambda emit: self._work.copy(path, to, recursive, here, emit), on_event).wait_async()

    async def afind_files(
        self, path: str = "~", *, on_event: OnEvent | None = None, **options: Unpack[FindOptions]
    ) -> Found:
        """Does what `find_files` does."""
        here = self._here(options, FindOptions)
        return await self._submit(lambda emit: self._work.find(path, here, emit), on_event).wait_async()


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RemotePathError(
            f"{path} is not UTF-8 text (byte {error.start:,} of {len(content):,}): read it as bytes, with read_file or "
            "%e2b read --bytes"
        ) from None
