"""The seed's verbs, for one session: run a command, write and read files, look back, look around.

Every verb that needs a sandbox exists twice, as itself and with an `a` before its name for `await`. Both build a
typed request and send it down one road: store, caller, store. What the work tells on its way (output, progress) goes
to `on_event`, in the thread that called.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Unpack

from e2b_magic.client.background import BackgroundLoop, Job, OnEvent
from e2b_magic.client.options import CommandOptions, OptionsT, Where, WriteOptions, checked
from e2b_magic.client.recorder import Recorder
from e2b_magic.client.work import Work
from e2b_magic.config import Configuration, from_environment
from e2b_magic.exceptions import InvalidRequestError, RemotePathError
from e2b_magic.records import ExecutionResult, FileEntry, Project, SandboxState, Status
from e2b_magic.store import CacheInfo, Store, open_store
from e2b_magic.worker.caller import Caller, InProcessCaller
from e2b_magic.worker.protocol import Emit, KillSandbox, SandboxStatus, check_project_name

T = TypeVar("T")
READ_LIMIT = 64 * 1024 * 1024
"""The largest file that `read_file` gives unless told otherwise, in bytes."""


class Client:
    """One session's way to its sandboxes, its results and its history.

    Args:
        configuration: Which E2B to use and where the store lies; read from the environment when left out.
        store: Another store than the configuration's.
        caller: Another way to a worker than in this process.

    Attributes:
        project: The current project's name.
    """

    def __init__(
        self,
        configuration: Configuration | None = None,
        *,
        store: Store | None = None,
        caller: Caller | None = None,
    ) -> None:
        self.configuration = configuration or from_environment()
        self.project = "default"
        self.store = store or open_store(
            self.configuration.directory, user=self.configuration.user, space=self.configuration.space
        )
        self._recorder = Recorder(self.store)
        self._work = Work(self.configuration, self._recorder, caller or InProcessCaller(self.configuration))
        self._background = BackgroundLoop()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Client: project {self.project!r} on {self.configuration.backend}>"

    def execute_command(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[CommandOptions]
    ) -> ExecutionResult:
        """Runs a command in the project's sandbox, or gives the stored result of an equal one.

        Args:
            command: The text that `bash -l -c` runs.
            on_event: Called with each piece of output and progress; a stored result has none.
            options: See `CommandOptions`.

        Raises:
            InvalidRequestError: The command is empty or an option cannot be meant.
            CommandTimeoutError: It ran longer than `timeout`; its record is in `result`.
            BackendError: The sandbox ended or could not be had; a record is in `result`.
            KeyboardInterrupt: It was interrupted: it and its children are ended, its record is in the history.
        """
        work, request = self._work, self._work.command(command, self._here(options, CommandOptions))
        hit = work.stored(request, options)
        return hit or self._submit(lambda emit: work.execute(request, options, emit), on_event).wait()

    async def aexecute_command(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[CommandOptions]
    ) -> ExecutionResult:
        """Does what `execute_command` does; to cancel it ends the command."""
        work, request = self._work, self._work.command(command, self._here(options, CommandOptions))
        hit = work.stored(request, options)
        return hit or await self._submit(lambda emit: work.execute(request, options, emit), on_event).wait_async()

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
        content = self.read_file(path, limit=limit, on_event=on_event, **options)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise RemotePathError(
                f"{path} is not UTF-8 text (byte {error.start:,} of {len(content):,}): read it as bytes"
            ) from None

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

    def get_execution_history(
        self,
        project: str | None = None,
        *,
        status: Status | None = None,
        text: str | None = None,
        since: float | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[ExecutionResult]:
        """Gives executions of the last seven days, newest first.

        Args:
            project: Only this project's; all projects' when left out.
            status: Only those that ended so.
            text: Only those whose command contains this.
            since: Only those that began at or after this time, in seconds since the epoch.
            limit: How many at most.
            before: Only those older than the execution of this id: give the last id of a page to get the next.
        """
        if project is not None:
            check_project_name(project)
        return self.store.history(project, status=status, text=text, since=since, limit=limit, before=before)

    def get_execution(self, execution_id: str) -> ExecutionResult:
        """Gives an execution by its id, or by the id's last letters as far as they tell it from the others.

        Raises:
            InvalidRequestError: There is none, or more than one.
        """
        if found := self.store.execution(execution_id):
            return found
        recent = self.store.history(limit=1000)
        matches = [record for record in recent if len(execution_id) >= 4 and record.id.endswith(execution_id)]
        if len(matches) == 1:
            return matches[0]
        many = f"stands for {len(matches)} executions: give more of the id" if matches else "is not in the history"
        raise InvalidRequestError(f"{execution_id!r} {many}")

    def get_project_info(self, project: str | None = None) -> Project:
        """Gives what is known of a project; one without anything stored is new."""
        name = check_project_name(project or self.project)
        return self._recorder.known(name) or Project(name=name)

    def get_projects(self) -> list[Project]:
        """Gives every project that anything is stored of, by name."""
        return self.store.projects()

    def use_project(self, name: str) -> Project:
        """Makes a project the current one.

        Raises:
            InvalidRequestError: Its name cannot name a project.
        """
        self.project = check_project_name(name)
        return self.get_project_info()

    def get_sandbox_status(self, project: str | None = None) -> SandboxState:
        """Gives the state of a project's sandbox, as its server sees it; makes none."""
        request = SandboxStatus(**self._work.target({"project": project or self.project}))
        state = SandboxState.from_json(self._submit(lambda emit: self._work.call(request, emit)).wait())
        if state.state == "gone":
            self._recorder.distrust(request.project_id)
        return state

    def kill_sandbox(self, project: str | None = None) -> list[str]:
        """Ends a project's sandbox, its files with it, and gives the ids of those that were ended."""
        request = KillSandbox(**self._work.target({"project": project or self.project}))
        killed: list[str] = self._submit(lambda emit: self._work.call(request, emit)).wait()["killed"]
        self._recorder.detach(request.project_id)
        return killed

    def clear_cache(self, command: str | None = None, project: str | None = None) -> int:
        """Forgets cached results: a command's, a project's, a command's in a project, or all; gives their number."""
        return self.store.clear_cache(command, project)

    def get_cache_info(self) -> CacheInfo:
        """Gives the cache's size, its hits and its misses."""
        return self.store.cache_info()

    def login(self, api_key: str) -> None:
        """Goes on with an API key, which is kept in memory only.

        Raises:
            ConfigurationError: The text cannot be a key.
        """
        try:
            configuration = self.configuration.with_key(api_key)
        finally:
            del api_key  # a verbose traceback prints the locals of every frame
        self._reconfigure(configuration)

    def logout(self) -> None:
        """Forgets the API key and every cached result; from here on the embedded server is used."""
        self._reconfigure(self.configuration.with_key(None))
        self.clear_cache()

    def close(self) -> None:
        """Ends what runs and lets go of the store; sandboxes live on until their time is over."""
        self._closed = True
        self._background.close(self._work.caller.close)
        self.store.close()

    def _reconfigure(self, configuration: Configuration) -> None:
        self._background.close(self._work.caller.close)
        self.configuration = configuration
        self._work = Work(configuration, self._recorder, InProcessCaller(configuration))

    def _submit(self, work: Callable[[Emit], Coroutine[Any, Any, T]], on_event: OnEvent | None = None) -> Job[T]:
        if self._closed:
            raise InvalidRequestError("This client is closed: make another one")
        return self._background.submit(work, on_event)

    def _here(self, options: OptionsT, known: type) -> OptionsT:
        return checked(options, known, self.project)
