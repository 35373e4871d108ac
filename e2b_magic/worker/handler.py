"""Who answers requests: one table from a request's type to the function that does the work.

The same handler serves a kernel, through the in-process caller, and a Jupyter server's users, through its routes.
Whatever goes wrong becomes an error envelope; only a cancellation, which is the caller's own wish, passes through.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from e2b_magic.exceptions import E2BMagicError
from e2b_magic.sandboxes import (
    SandboxManager,
    commands,
    files,
    jobs,
    lifecycle,
    paths,
    servers,
    setup,
    snapshots,
    terminals,
    transfers,
    trees,
)
from e2b_magic.worker.protocol import Emit, Envelope, failure, ignore, success
from e2b_magic.worker.validation import parse_request

_log = logging.getLogger(__name__)

Work = Callable[[SandboxManager, Any, Emit], Awaitable[dict[str, Any]]]


WORK: dict[str, Work] = {
    "execute_command": commands.execute,
    "write_file": files.write,
    "read_file": files.read,
    "list_files": files.list_directory,
    "peek_directory": files.peek_directory,
    "remove_file": files.remove,
    "open_terminal": terminals.run,
    "send_input": terminals.send_input,
    "resize_terminal": terminals.resize,
    "close_terminal": terminals.close,
    "list_tree": trees.list_tree,
    "open_upload": transfers.open_upload,
    "open_download": transfers.open_download,
    "send_piece": transfers.send_piece,
    "receive_piece": transfers.receive_piece,
    "close_transfer": transfers.close_transfer,
    "rename_file": paths.rename,
    "copy_file": paths.copy,
    "make_directory": paths.make_directory,
    "find_files": paths.find,
    "sandbox_status": lifecycle.status,
    "create_sandbox": lifecycle.create,
    "kill_sandbox": lifecycle.kill,
    "pause_sandbox": lifecycle.pause,
    "resume_sandbox": lifecycle.resume,
    "extend_sandbox": lifecycle.extend,
    "set_sandbox_timeout": lifecycle.set_timeout,
    "list_sandboxes": lifecycle.list_all,
    "sandbox_metrics": lifecycle.metrics,
    "snapshot_sandbox": snapshots.take,
    "list_snapshots": snapshots.list_all,
    "delete_snapshot": snapshots.delete,
    "fork_sandbox": snapshots.fork,
    "compare_files": setup.compare,
    "setup_project": setup.setup,
    "start_job": jobs.start,
    "list_jobs": jobs.list_jobs,
    "read_log": jobs.read_log,
    "stop_job": jobs.stop,
    "start_dev_server": servers.start,
    "preview_port": servers.preview,
}


class Handler:
    """Answers requests by way of one user's sandboxes.

    Args:
        manager: The sandboxes.
    """

    def __init__(self, manager: SandboxManager) -> None:
        self.manager = manager

    async def handle(self, payload: object, emit: Emit = ignore) -> Envelope:
        """Gives the envelope that answers a request.

        Args:
            payload: The request as a mapping of JSON values.
            emit: Awaited with each event; while it waits, the sandbox's output waits too.
        """
        try:
            request = parse_request(payload)
            return success(await WORK[request.type](self.manager, request, emit))
        except E2BMagicError as error:
            return failure(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the caller is owed an answer
            # Ours to mend. The kind alone is told and logged: a text or a traceback might hold what was sent.
            where = _innermost(error)
            _log.error("request failed: %s at %s", type(error).__name__, where)
            return failure(
                E2BMagicError(f"e2b-magic failed with {type(error).__name__} at {where}: please report this")
            )

    async def close(self) -> None:
        """Ends the handler's work; sandboxes live on."""
        await self.manager.close()


def _innermost(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown place"
    return f"{traceback.tb_frame.f_globals.get('__name__')}:{traceback.tb_lineno}"
