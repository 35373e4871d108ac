"""Bringing files into the sandbox and out of it: small ones by the browser, large ones by a path of this machine.

Each way is a function over a `Transfer`, the row that shows how far it is. It works in a thread and tells the row of
each piece that has gone; once *Cancel* was pressed, or the panel is closed, the row answers by raising, and the client
discards what was half done. `Transfers` holds the rows.
"""

from __future__ import annotations

import base64
import html
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ipywidgets import HTML, HBox, VBox

from e2b_magic.exceptions import FileTooLargeError, InvalidRequestError
from e2b_magic.panels.controls import button
from e2b_magic.panels.tree import inside
from e2b_magic.panels.view import View, close_all
from e2b_magic.quantities import counted, share, size
from e2b_magic.records import FileEntry
from e2b_magic.terminal import one_line

UPLOAD_LIMIT: Final = 8 * 1024 * 1024
"""The largest file that the browser may send, in bytes: above 10 MB Jupyter's websocket drops it without a word."""
DOWNLOAD_LIMIT: Final = 4 * 1024 * 1024
"""The largest file that the page is handed for saving, in bytes: it is part of the page until then."""
_TELL_EVERY: Final = 0.1  # seconds between two signs of progress


class _UnwantedError(Exception):
    """A transfer was cancelled; never seen outside this module."""


class Transfer(HBox):  # type: ignore[misc]  # ipywidgets has no types
    """A transfer under way: how far it is, and the button that ends it.

    Args:
        text: What it does, in a phrase.
    """

    def __init__(self, text: str) -> None:
        self.text = one_line(text)
        self._unwanted = threading.Event()
        self._told = 0.0
        self._share = HTML(f'<span role="status">{html.escape(self.text)}</span>')
        told = "End the transfer; a file that is on its way is left as it was"
        self.cancel_button = button("Cancel", told, self.cancel, icon="stop")
        super().__init__([self._share, self.cancel_button])
        self.add_class("e2b-line")
        self.add_class("e2b-note")

    def cancel(self) -> None:
        """Ends the transfer with the piece that is on its way."""
        self.give_up()
        self.cancel_button.disabled = True

    def give_up(self) -> None:
        """Has the next sign of progress end the transfer, without a change of what is seen."""
        self._unwanted.set()

    def tell(self, done: int, total: int) -> None:
        """Shows how many bytes have gone, in the thread of the transfer; `total` is 0 while nobody knows it.

        Raises:
            _UnwantedError: It was cancelled.
        """
        if self._unwanted.is_set():
            raise _UnwantedError
        if time.monotonic() - self._told >= _TELL_EVERY and (done or total):
            self._told = time.monotonic()
            text, value = html.escape(self.text), f' value="{done / total:.3f}"' if total else ""
            # No status, which a screen reader would say ten times a second: it reads the bar when it is asked.
            bar = f'<progress aria-label="{text}" max="1"{value}></progress>'
            self._share.value = f"{text} {bar} {share(done, total)}"


class Transfers(VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The transfers that are under way, below each other.

    Args:
        view: Whose client they use, and whose message line tells of their ends.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._rows: tuple[Transfer, ...] = ()
        super().__init__(layout={"width": "100%"})

    def begin(self, text: str, way: Callable[..., Coroutine[Any, Any, str]], *what: Any) -> None:
        """Starts a transfer.

        Args:
            text: What it does, in a phrase.
            way: One of this module's functions.
            what: What it takes after the view and the transfer.
        """
        self._view.start(lambda: self._carry(Transfer(text), way, *what))

    async def _carry(self, transfer: Transfer, way: Callable[..., Coroutine[Any, Any, str]], *what: Any) -> None:
        self._rows = self.children = (*self._rows, transfer)
        self._view.message.clear()
        try:
            self._view.message.say(await way(self._view, transfer, *what))
        except _UnwantedError:
            self._view.message.say(f"Cancelled: {transfer.text}")
        finally:
            transfer.give_up()  # a closed panel cancels this task alone, and not the thread that it waits for
            self._rows = self.children = tuple(row for row in self._rows if row is not transfer)
            close_all((transfer,))


async def upload(
    view: View, transfer: Transfer, project: str, files: tuple[dict[str, Any], ...], directory: str
) -> str:
    """Writes the files that a browser has sent, each of them whole or not at all, and tells of it.

    Args:
        view: Whose client to use.
        transfer: Where to tell how far it is.
        project: Whose sandbox they go into.
        files: As a `FileUpload` holds them.
        directory: Where they go.

    Raises:
        FileTooLargeError: One is larger than a browser may send; none was written then.
        InvalidRequestError: One has a name that no file can have; likewise.
    """
    contents = {inside(directory, base_name(file["name"])): bytes(file["content"]) for file in files}
    for file in files:
        if file["size"] > UPLOAD_LIMIT:
            raise FileTooLargeError(
                f"{file['name']} has {size(file['size'])}, and a browser may send {size(UPLOAD_LIMIT)} at most: "
                "From path… takes it from this kernel's machine"
            )

    def write() -> None:
        done, total = 0, sum(map(len, contents.values()))
        for path, content in contents.items():
            transfer.tell(done, total)
            view.client.write_file(path, content, project=project)
            done += len(content)

    await view.aside(write)
    names = ", ".join(file["name"] for file in files[:3]) + (" and others" if len(files) > 3 else "")
    return f"Uploaded {names} to {directory}"


def base_name(name: str) -> str:
    """Gives a file's name without directories: browsers send none, and whoever speaks for one may not choose any."""
    base = name.replace("\\", "/").rpartition("/")[2]
    if base in ("", ".", ".."):
        raise InvalidRequestError(f"{name!r} cannot name a file")
    return base


async def hand_over(view: View, transfer: Transfer, project: str, entry: FileEntry, link: HTML) -> str:
    """Puts a link to a file's content into the page, for the browser to save.

    Raises:
        FileTooLargeError: It is larger than a page is handed.
    """
    try:
        content = await view.client.aread_file(entry.path, limit=DOWNLOAD_LIMIT, project=project)
    except FileTooLargeError:
        raise FileTooLargeError(
            f"{entry.path} has {size(entry.size)}, and a page is handed {size(DOWNLOAD_LIMIT)} at most: "
            "Save to… writes it to this kernel's machine"
        ) from None
    transfer.tell(len(content), len(content))
    # As bytes of no kind, so that the browser saves it and never shows it.
    address = f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"
    name = html.escape(one_line(entry.name), quote=True)
    link.value = f'<a download="{name}" href="{address}">Save {name} ({size(len(content))})</a>'
    return f"{entry.path} is ready: follow the link to save it"


async def bring(view: View, transfer: Transfer, project: str, local: str, directory: str) -> str:
    """Brings a file or directory of this machine into a directory of the sandbox."""
    done = await view.aside(
        lambda: view.client.upload(local, f"{directory}/", project=project, on_progress=transfer.tell)
    )
    return f"Brought {counted(done.files, 'file')} ({size(done.size)}) to {done.path}"


async def save(view: View, transfer: Transfer, project: str, entry: FileEntry, local: str) -> str:
    """Brings a file or directory of the sandbox to this machine."""
    done = await view.aside(lambda: view.client.download(entry.path, local, project=project, on_progress=transfer.tell))
    return f"Saved {counted(done.files, 'file')} ({size(done.size)}) to {done.path}"
