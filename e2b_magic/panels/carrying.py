"""Bringing files into the sandbox and out of it: small ones by the browser, large ones by a path of this machine."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ipywidgets import HTML

from e2b_magic.exceptions import FileTooLargeError, InvalidRequestError
from e2b_magic.panels.tree import inside
from e2b_magic.quantities import counted, size
from e2b_magic.records import FileEntry
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.panels.view import View

UPLOAD_LIMIT: Final = 8 * 1024 * 1024
"""The largest file that the browser may send, in bytes: above 10 MB Jupyter's websocket drops it without a word."""
DOWNLOAD_LIMIT: Final = 4 * 1024 * 1024
"""The largest file that the page is handed for saving, in bytes: it is part of the page until then."""
_TELL_EVERY: Final = 0.1  # seconds between two signs of progress

OnProgress = Callable[[int, int], None]


async def upload(view: View, project: str, files: tuple[dict[str, Any], ...], directory: str) -> None:
    """Writes the files that a browser has sent.

    Args:
        view: Whose client to use, and whose message line to tell in.
        project: Whose sandbox they go into.
        files: As a `FileUpload` holds them.
        directory: Where they go.

    Raises:
        FileTooLargeError: One is larger than a browser may send.
        InvalidRequestError: One has a name that no file can have.
    """
    for number, file in enumerate(files, 1):
        if file["size"] > UPLOAD_LIMIT:
            raise FileTooLargeError(
                f"{file['name']} has {size(file['size'])}, and a browser may send {size(UPLOAD_LIMIT)} at most: "
                "From path… takes it from this kernel's machine"
            )
        view.message.say(f"Uploading {file['name']} ({number} of {len(files)})")
        path = inside(directory, _base_name(file["name"]))
        await view.client.awrite_file(path, bytes(file["content"]), project=project)
    names = ", ".join(file["name"] for file in files[:3]) + (" and others" if len(files) > 3 else "")
    view.message.say(f"Uploaded {names} to {directory}")


def _base_name(name: str) -> str:
    """Gives a file's name without directories: browsers send none, and whoever speaks for one may not choose any."""
    base = name.replace("\\", "/").rpartition("/")[2]
    if base in ("", ".", ".."):
        raise InvalidRequestError(f"{name!r} cannot name a file")
    return base


async def hand_over(view: View, project: str, entry: FileEntry, link: HTML) -> None:
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
    # As bytes of no kind, so that the browser saves it and never shows it.
    address = f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"
    name = html.escape(one_line(entry.name), quote=True)
    link.value = f'<a download="{name}" href="{address}">Save {name} ({size(len(content))})</a>'


async def bring(view: View, project: str, local: str, directory: str) -> None:
    """Brings a file or directory of this machine into a directory of the sandbox."""
    tell = _progress(view, f"Bringing {local}")
    done = await view.aside(lambda: view.client.upload(local, f"{directory}/", project=project, on_progress=tell))
    view.message.say(f"Brought {counted(done.files, 'file')} ({size(done.size)}) to {done.path}")


async def save(view: View, project: str, entry: FileEntry, local: str) -> None:
    """Brings a file or directory of the sandbox to this machine."""
    tell = _progress(view, f"Saving {entry.path}")
    done = await view.aside(lambda: view.client.download(entry.path, local, project=project, on_progress=tell))
    view.message.say(f"Saved {counted(done.files, 'file')} ({size(done.size)}) to {done.path}")


def _progress(view: View, text: str) -> OnProgress:
    told = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_EVERY and total:
            told = time.monotonic()
            view.message.tell_progress(text, done / total)

    return tell
