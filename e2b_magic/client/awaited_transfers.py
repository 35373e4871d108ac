"""The awaited twins of the verbs that bring files and trees: each runs the other in a thread, see `threads`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from e2b_magic.client.options import SyncOptions, TransferOptions
from e2b_magic.client.threads import in_thread, on_this_loop
from e2b_magic.client.transfers import TransferVerbs
from e2b_magic.records import TransferResult


async def _awaited(verb: Callable[..., TransferResult], *paths: Any, options: Any) -> TransferResult:
    """Gives what a verb gives in a thread; what it tells on the way is told on the running loop."""
    told = {name: call for name in ("on_progress", "on_event") if (call := options.get(name)) is not None}
    options |= {name: on_this_loop(call) for name, call in told.items()}
    return await in_thread(lambda: verb(*paths, **options))


class AwaitedTransferVerbs(TransferVerbs):
    """Bringing files and trees, awaited."""

    async def aupload(
        self, local: str | Path, remote: str | None = None, **options: Unpack[TransferOptions]
    ) -> TransferResult:
        """Does what `upload` does; to cancel it discards what has gone."""
        return await _awaited(self.upload, local, remote, options=options)

    async def adownload(
        self, remote: str, local: str | Path | None = None, **options: Unpack[TransferOptions]
    ) -> TransferResult:
        """Does what `download` does; to cancel it leaves no half file."""
        return await _awaited(self.download, remote, local, options=options)

    async def aupload_changes(
        self, local: str | Path, remote: str | None = None, **options: Unpack[SyncOptions]
    ) -> TransferResult:
        """Does what `upload_changes` does; to cancel it discards what has gone."""
        return await _awaited(self.upload_changes, local, remote, options=options)
