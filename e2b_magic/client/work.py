"""What a client does on the background loop: options become a typed request, the request's answer a record.

`Work` is the client's road in one place: recorder (what is known, what is pending), caller, recorder again.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from e2b_magic.client.cache_key import cache_key
from e2b_magic.client.options import FIND_LIMIT, CommandOptions, FindOptions, Unseen, Where, WriteOptions
from e2b_magic.client.orphans import own_origin
from e2b_magic.client.recorder import Recorder
from e2b_magic.config import Configuration
from e2b_magic.exceptions import (
    CommandInterruptedError,
    E2BMagicError,
    InvalidRequestError,
    SandboxGoneError,
    SandboxUnreachableError,
)
from e2b_magic.records import ExecutionResult, FileEntry, Found, Project, new_execution_id
from e2b_magic.worker.caller import Caller
from e2b_magic.worker.protocol import Attached, Emit, Event, Progress, unwrap
from e2b_magic.worker.requests.base import Request, check_project_name
from e2b_magic.worker.requests.commands import ExecuteCommand
from e2b_magic.worker.requests.files import (
    CopyFile,
    FindFiles,
    ListFiles,
    MakeDirectory,
    ReadFile,
    RemoveFile,
    RenameFile,
    WriteFile,
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it was asked for.

    Attributes:
        request: What a worker is to be asked.
        options: What the caller gave; left out of every repr.
        known: What was stored of its project then: it is looked up once for all that comes before the command.
    """

    request: ExecuteCommand
    options: CommandOptions = field(repr=False)
    known: Project | None

    def holds(self, known: Project | None) -> bool:
        """Whether the project's files are those of then, as far as is known, so that the result may be given again."""
        return known is not None and known.revision == (self.known.revision if self.known else 0)


class Work:
    """A client's work under one configuration.

    Args:
        configuration: Which E2B the caller's worker uses.
        recorder: Where records are kept.
        caller: The way to the worker.
    """

    def __init__(self, configuration: Configuration, recorder: Recorder, caller: Caller) -> None:
        self.configuration = configuration
        self.recorder = recorder
        self.caller = caller

    def target(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Gives the fields by which a request finds its sandbox.

        Raises:
            InvalidRequestError: The project's name cannot name one.
        """
        name = check_project_name(options.get("project"))
        return self._target(name, self.recorder.known(name), options)

    def _target(self, name: str, known: Project | None, options: Mapping[str, Any]) -> dict[str, Any]:
        here = known if known is not None and known.backend == self.configuration.backend else None
        return {
            "project_id": name,
            "template": options.get("template") or (known.template if known else self.configuration.template),
            "sandbox_id": here.sandbox_id if here else "",
            "sandbox_timeout": here.sandbox_timeout if here else 0,  # what one E2B allows another's plan may not
            "origin": own_origin(self.configuration.directory),
        }

    def command(self, text: str, options: CommandOptions) -> Command:
        """Gives a command to be looked for in the store, or run.

        Raises:
            InvalidRequestError: The command is empty or an option cannot be meant.
        """
        name = check_project_name(options.get("project"))
        known = self.recorder.known(name)
        request = ExecuteCommand(
            **self._target(name, known, options),
            execution=new_execution_id(),
            command=text,
            cwd=options.get("cwd"),
            envs=Unseen(options.get("envs") or {}),
            user=options.get("user"),
            timeout=options.get("timeout"),
            stdin=None if options.get("stdin") is None else _in_base64(options["stdin"]),
        )
        return Command(request, options, known)

    def _caches(self, command: Command) -> bool:
        return self.configuration.use_cache and command.options.get("use_cache", True)

    def stored(self, command: Command) -> ExecutionResult | None:
        """Gives the stored result of an equal command, when the options allow one."""
        if command.options.get("refresh") or not self._caches(command):
            return None
        key = cache_key(command.request, command.known, self.configuration.backend)
        return None if key is None else self.recorder.take(key, command.request.execution)

    def _key(self, command: Command) -> str | None:
        """Gives the key under which a result may be given again; None when it may not."""
        known = self.recorder.known(command.request.project_id) if self._caches(command) else None
        return cache_key(command.request, known, self.configuration.backend) if command.holds(known) else None

    async def execute(self, command: Command, emit: Emit) -> ExecutionResult:
        """Runs a command and gives its record, which is stored whatever happens."""
        ledger = self.recorder.begin(command.request, self.configuration.backend)

        async def listen(event: Event) -> None:
            ledger.note(event)
            await emit(event)

        try:
            data = await self.call(command.request, listen)
        except BaseException as error:
            record = ledger.fail(error)
            self.recorder.end(record)
            if isinstance(error, asyncio.CancelledError):
                # As an error of ours, for those who wait for the command and did not themselves interrupt it: a
                # client that is closed, or logs out, ends what runs.
                raise CommandInterruptedError(str(record.error), record) from None
            if isinstance(error, E2BMagicError):
                error.result = record
            raise
        record = ledger.succeed(data["exit_code"])
        self.recorder.end(record, self._key(command) if record.ok else None)
        await self._tell_trouble(emit)
        return record

    async def call(self, request: Request, emit: Emit) -> dict[str, Any]:
        """Gives the data that a worker answers a request with, and stores which sandbox it was done in."""

        async def listen(event: Event) -> None:
            if isinstance(event, Attached):
                self.recorder.attach(request, event)
            await emit(event)

        try:
            return unwrap(await self.caller.call(request.to_json(), listen))
        except (SandboxGoneError, SandboxUnreachableError):
            self.recorder.distrust(request.project_id)
            raise

    async def _tell_trouble(self, emit: Emit) -> None:
        if line := self.recorder.trouble():
            await emit(Progress(line))

    async def write(self, path: str, content: str | bytes, options: WriteOptions, emit: Emit) -> FileEntry:
        """Writes a file and gives its entry."""
        text = isinstance(content, str)
        request = WriteFile(
            **self.target(options),
            path=path,
            user=options.get("user"),
            content=content if isinstance(content, str) else base64.b64encode(content).decode(),
            encoding="utf-8" if text else "base64",
            append=options.get("append", False),
            mode=options.get("mode"),
        )
        return await self.change(request, emit)

    async def rename(self, path: str, to: str, options: Where, emit: Emit) -> FileEntry:
        """Moves a file or directory and gives its new entry."""
        return await self.change(RenameFile(**self.target(options), path=path, user=options.get("user"), to=to), emit)

    async def copy(self, path: str, to: str, recursive: bool, options: Where, emit: Emit) -> FileEntry:
        """Copies a file or directory and gives the copy's entry."""
        target, user = self.target(options), options.get("user")
        return await self.change(CopyFile(**target, path=path, user=user, to=to, recursive=recursive), emit)

    async def make_directory(self, path: str, options: Where, emit: Emit) -> FileEntry:
        """Makes a directory and gives its entry."""
        return await self.change(MakeDirectory(**self.target(options), path=path, user=options.get("user")), emit)

    async def remove(self, path: str, recursive: bool, options: Where, emit: Emit) -> FileEntry:
        """Removes a file or directory and gives the entry that it was."""
        target = self.target(options)
        return await self.change(RemoveFile(**target, path=path, user=options.get("user"), recursive=recursive), emit)

    async def change(self, request: Request, emit: Emit) -> FileEntry:
        """Does something to the sandbox's files; whether it succeeds or not, older cached results no longer hold."""
        try:
            return FileEntry.from_json(await self.call(request, emit))
        finally:
            self.recorder.touch(request.project_id)
            await self._tell_trouble(emit)

    async def read(self, path: str, limit: int, options: Where, emit: Emit) -> bytes:
        """Gives a file's content."""
        request = ReadFile(**self.target(options), path=path, user=options.get("user"), limit=limit)
        return base64.b64decode((await self.call(request, emit))["content"])

    async def list_directory(self, path: str, options: Where, emit: Emit) -> list[FileEntry]:
        """Gives a directory's entries."""
        request = ListFiles(**self.target(options), path=path, user=options.get("user"))
        return [FileEntry.from_json(entry) for entry in (await self.call(request, emit))["entries"]]

    async def find(self, path: str, filters: FindOptions, emit: Emit) -> Found:
        """Gives the entries below a directory that match."""
        request = FindFiles(
            **self.target(filters),
            path=path,
            user=filters.get("user"),
            name=filters.get("name") or "*",
            kind=filters.get("kind") or "",
            depth=filters.get("depth"),
            limit=filters.get("limit") or FIND_LIMIT,
        )
        answer = await self.call(request, emit)
        return Found(map(FileEntry.from_json, answer["entries"]), more=answer["more"])


def _in_base64(content: str | bytes | None) -> str:
    if not isinstance(content, str | bytes | bytearray):
        raise InvalidRequestError(f"stdin must be a text or bytes, not {type(content).__name__}")
    return base64.b64encode(
        content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    ).decode()
