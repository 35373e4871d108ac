"""A real kernel with the magics: how it is started, what a cell publishes, and what of that is text or a value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

Kernel = tuple[KernelManager, BlockingKernelClient]
Messages = list[dict[str, Any]]

PROMPT_WITHIN = 2.0
"""How soon after Ctrl-C or the stop button the prompt has to be back, in seconds."""
_PATIENCE = 60


def environment_in(directory: Path) -> dict[str, str]:
    """Gives the environment of a kernel or an IPython whose files lie in a directory, and beside it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
    ours = {"E2B_MAGIC_DIRECTORY": str(directory), "IPYTHONDIR": str(directory.parent / "ipython")}
    return {**kept, **ours, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


@contextmanager
def running_kernel(environment: dict[str, str]) -> Iterator[Kernel]:
    """Gives a kernel with the magics loaded and a sandbox started; it ends with the block."""
    start: Any = start_new_kernel  # without annotations in jupyter_client
    manager, client = start(kernel_name="python3", env=environment)
    try:
        execute(client, "%load_ext e2b_magic\nr = %e2b run true")
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def execute(client: BlockingKernelClient, code: str) -> Messages:
    """Runs a cell and gives the messages that it published."""
    return list(published(client, client.execute(code)))


def published(client: BlockingKernelClient, identity: str) -> Iterator[dict[str, Any]]:
    """Gives the messages of a cell that was sent, as they come, up to the one that tells its end."""
    receive: Any = client.get_iopub_msg
    while True:
        message = receive(timeout=_PATIENCE)
        if message["parent_header"].get("msg_id") != identity:
            continue
        yield message
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return


def until(text: str, messages: Iterator[dict[str, Any]]) -> Messages:
    """Gives a running cell's messages up to the one whose output completes a text."""
    seen = [next(messages)]
    while text not in text_of(seen):
        seen.append(next(messages))
    return seen


def text_of(messages: Messages, *streams: str) -> str:
    """Gives what was written, to the streams that are named, or to all."""
    told = (message["content"] for message in messages if message["msg_type"] == "stream")
    return "".join(content["text"] for content in told if not streams or content["name"] in streams)


def value_of(messages: Messages) -> str:
    """Gives the text of a cell's value."""
    (value,) = [message["content"]["data"] for message in messages if message["msg_type"] == "execute_result"]
    text: str = value["text/plain"]
    return text


def error_of(messages: Messages) -> dict[str, Any]:
    """Gives the one error that a cell ended with."""
    (error,) = [message["content"] for message in messages if message["msg_type"] == "error"]
    return dict(error)
