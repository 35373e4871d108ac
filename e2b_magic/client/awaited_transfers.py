"""The awaited twins of the verbs that bring files and trees: each runs the other in a thread, see `threads`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from e2b_magic.client.background import OnEvent
from e2b_magic.client.open_transfer import OnProgress, untold
from e2b_magic.client.options import Where
from e2b_magic.client.threads import in_thread, on_this_loop
from e2b_magic.client.transfers import TransferVerbs
from e2b_magic.records import TransferResult


class AwaitedTransferVerbs(TransferVerbs):
    """Bringing files and trees, awaited."""

    async def aupload(
        self,
        local: str | Path,
        remote: str | None = None,
        *,
        exclude: Sequence[str] = (),
        on_progress: OnProgress = untold,
        on_event: OnEvent | None = None,
        **options: Unpack[Where],
    ) -> TransferResult:
        """Does what `upload` does; to cancel it discards what has gone."""
        told, heard = on_this_loop(on_progress), on_event and on_this_loop(on_event)
        return await in_thread(
            lambda: self.upload(local, remote, exclude=exclude, on_progress=told, on_event=heard, **options)
        )

    async def adownload(
        self,
        remote: str,
        local: str | Path | None = None,
        *,
        exclude: Sequence[str] = (),
        on_progress: OnProgress = untold,
        on_event: OnEvent | None = None,
        **options: Unpack[Where],
    ) -> TransferResult:
        """Does what `download` does; to cancel it leaves no half file."""
        told, heard = on_this_loop(on_progress), on_event and on_this_loop(on_event)
        return await in_thread(
            lambda: self.download(remote, local, exclude=exclude, on_progress=told, on_event=heard, **options)
        )

    async def aupload_changes(
        self,
        local: str | Path,
        remote: str | None = None,
        *,
        exclude: Sequence[str] = (),
        gitignore: bool = True,
        delete: bool = False,
        checksum: bool = False,
        on_progress: OnProgress = untold,
        on_event: OnEvent | None = None,
        **options: Unpack[Where],
    ) -> TransferResult:
        """Does what `upload_changes` does; to cancel it discards what has gone."""
        told, heard = on_this_loop(on_progress), on_event and on_this_loop(on_event)
        return await in_thread(
            lambda: self.upload_changes(
                local,
                remote,
                exclude=exclude,
                gitignore=gitignore,
                delete=delete,
                checksum=checksum,
                on_progress=told,
                on_event=heard,
                **options,
            )
        )
