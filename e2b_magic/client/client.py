"""The seed's verbs, for one session: run a command, write and read files, look back, look around.

Each group of verbs has a module of its own; here is what begins and ends a session. Every verb that needs a sandbox
exists twice, as itself and with an `a` before its name for `await`.
"""

from __future__ import annotations

import asyncio
from typing import Self

from e2b_magic.client.all_sandboxes import AllSandboxesVerbs
from e2b_magic.client.changes import Closed, SettingsChanged
from e2b_magic.client.commands import CommandVerbs
from e2b_magic.client.completion import CompletionVerbs
from e2b_magic.client.files import FileVerbs
from e2b_magic.client.projects import ProjectVerbs
from e2b_magic.client.sandboxes import SandboxVerbs
from e2b_magic.client.snapshots import SnapshotVerbs
from e2b_magic.client.terminals import TerminalVerbs
from e2b_magic.client.work import Work
from e2b_magic.config import Configuration, from_environment
from e2b_magic.store import Store, open_store
from e2b_magic.worker.caller import Caller, caller_for


class Client(
    CommandVerbs,
    CompletionVerbs,
    FileVerbs,
    ProjectVerbs,
    SandboxVerbs,
    SnapshotVerbs,
    AllSandboxesVerbs,
    TerminalVerbs,
):
    """One session's way to its sandboxes, its results and its history.

    Args:
        configuration: Which E2B to use and where the store lies; read from the environment when left out.
        store: Another store than the configuration's.
        caller: Another way to a worker than the configuration's.

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
        known = configuration or from_environment()
        store = store or open_store(known.directory, user=known.user, space=known.space)
        super().__init__(known, store, caller or caller_for(known))

    def __enter__(self) -> Self:
        """Gives the client itself; `close` is called at the block's end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        """Gives the client itself; `close` is called at the block's end, and holds up nothing else."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<Client: project {self.project!r} on {self.configuration.backend}>"

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
        """Ends what runs and lets go of the store; sandboxes live on until their time is over.

        What does not end within three seconds is told in one line of the log, and not waited for.
        """
        self._closed = True
        try:
            self._background.close(self._work.caller.close)
        finally:
            self.store.close()
            self.changes.announce(Closed())

    def _reconfigure(self, configuration: Configuration) -> None:
        self._background.close(self._work.caller.close)
        self.configuration = configuration
        self._work = Work(configuration, self._recorder, caller_for(configuration))
        self.changes.announce(SettingsChanged())
