"""A text file of the sandbox, to be changed and saved; what changed there meanwhile is never overwritten unasked."""

from __future__ import annotations

import html
from collections.abc import Callable

from ipywidgets import HTML, Textarea, VBox

from e2b_magic.exceptions import FileTooLargeError, RemoteFileNotFoundError, RemotePathError
from e2b_magic.panels.ask import Ask
from e2b_magic.panels.controls import button, line
from e2b_magic.panels.tree import above
from e2b_magic.panels.view import Refresh, View
from e2b_magic.quantities import size
from e2b_magic.terminal import one_line

EDIT_LIMIT = 256 * 1024
"""The largest file that is opened, in bytes: the page and the kernel send the whole text at each save."""


class Editor(VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Shows one file.

    Args:
        view: Whose client and message line to use.
        ask: Where to ask before anything is lost.

    Attributes:
        path: The file that is open; None when none is.
        project: The project that it belongs to.
    """

    def __init__(self, view: View, ask: Ask) -> None:
        self.path: str | None = None
        self.project = ""
        self._wanted: tuple[str, str] | None = None
        self._reading = 0
        self._view = view
        self._ask = ask
        self._content = b""
        self._opened = ""
        self._saving = Refresh(view, self.save)
        self._title = HTML()
        self.text = Textarea(continuous_update=False)
        self.text.add_class("e2b-text")
        save, reload = "Write the text to the file", "Read the file again, without what was changed here"
        self.save_button = button("Save", save, self._saving.ask, icon="save", button_style="primary")
        self.reload_button = button("Reload", reload, lambda: self.unless_changed(lambda: view.start(self.reload)))
        self.close_button = button("Close", "Close the file", lambda: self.unless_changed(self.leave))
        top = line(self._title, self.save_button, self.reload_button, self.close_button)
        super().__init__([top, self.text], layout={"display": "none", "width": "100%"})

    @property
    def changed(self) -> bool:
        """Whether the text is not what was opened."""
        return self.path is not None and self.text.value != self._opened

    def unless_changed(self, act: Callable[[], object]) -> None:
        """Does what ends the editing of this text: at once, or when asked, if it has changes that are not saved."""
        if self.changed:
            self._ask_to_discard(act)
        else:
            act()

    def _ask_to_discard(self, act: Callable[[], object]) -> None:
        self._ask.for_yes(f"{self.path} has changes that are not saved: discard them?", "Discard", act)

    async def show_file(self, path: str, project: str) -> None:
        """Opens a file of a project's sandbox.

        Raises:
            RemotePathError: It is no text, or has line ends of several kinds.
            FileTooLargeError: It is too large for a page.
        """
        self._wanted = (project, path)
        shown = self.text.value  # which may go: it is not changed, or whoever was asked has said so
        content = await self._read_with_text_locked(path, project)
        if self._wanted != (project, path):  # another file was opened meanwhile, or this one deleted
            return
        text = _as_text(path, content)
        if self.changed and self.text.value != shown:
            self._ask_to_discard(lambda: self._view.start(lambda: self.show_file(path, project)))
            return
        self.path, self.project = path, project
        self._content, self._opened = content, text
        self._tell_path()
        self.text.value = text
        self.layout.display = None

    def _tell_path(self) -> None:
        path = one_line(self.path or "")
        owner = f' <span class="e2b-quiet">of {html.escape(self.project)}</span>'
        self._title.value = f"<strong>{html.escape(path)}</strong>{owner}"
        self.text.tooltip = f"Text of {path}"

    async def _read_with_text_locked(self, path: str, project: str) -> bytes:
        # What is typed stays in the page until the field is left, and would go there with the old text, unseen here.
        self._reading += 1
        self.text.disabled = True
        try:
            return await self._read(path, project)
        finally:
            self._reading -= 1
            self.text.disabled = self._reading > 0

    async def _read(self, path: str, project: str) -> bytes:
        try:
            return await self._view.client.aread_file(path, limit=EDIT_LIMIT, project=project)
        except FileTooLargeError:
            raise FileTooLargeError(
                f"{path} is too large for a page, which edits {size(EDIT_LIMIT)} at most: download it instead"
            ) from None

    async def reload(self) -> None:
        """Opens the file again."""
        if self.path is not None:
            self._view.message.clear()
            await self.show_file(self.path, self.project)

    async def save(self, known: bytes | None = None) -> None:
        """Writes the text, unless the file has changed since it was opened: then it asks.

        Args:
            known: What else may be in the file and be overwritten.
        """
        # All of it now: by the time that the sandbox has answered, another file may be open.
        path, project, before, text = self.path, self.project, self._content, self.text.value
        if path is None:
            return
        there = await self._read(path, project) if await self._exists(path, project) else before
        if there not in (before, known):
            question = f"{path} has changed since it was opened: overwrite that? Reload takes it instead"
            self._ask.for_yes(question, "Overwrite", lambda: self._view.start(lambda: self.save(there)))
            return
        content = text.replace("\n", "\r\n").encode() if b"\r\n" in before else text.encode()
        entry = await self._view.client.awrite_file(path, content, project=project)
        if (self.path, self.project) == (path, project):
            self._content, self._opened = content, text
        self._view.message.say(f"Saved {path} ({size(entry.size)})")

    async def _exists(self, path: str, project: str) -> bool:
        try:
            entries = await self._view.client.alist_files(above(path), project=project)
        except RemoteFileNotFoundError:  # in a new sandbox, say, where the old one was killed
            return False
        return any(entry.path == path for entry in entries)

    def lies_in(self, path: str, project: str) -> bool:
        """Whether the file that is open stands at a path of a project's sandbox or below it."""
        here = self.path or ""
        return self.project == project and (here == path or here.startswith(f"{path}/"))

    def follow(self, path: str, to: str) -> None:
        """Keeps to the file that is open, and to its text, when what it lies in was renamed."""
        if self.path is not None:
            self.path = to + self.path.removeprefix(path)
            self._wanted = (self.project, self.path)
            self._tell_path()

    def leave(self) -> None:
        """Closes the file."""
        self.path = self._wanted = None
        self._content, self._opened = b"", ""
        self.text.value = ""
        self.layout.display = "none"


def _as_text(path: str, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise RemotePathError(f"{path} is no UTF-8 text: download it instead") from None
    # A page's text field has \n alone: other line ends would be lost at the first save.
    lines = text.replace("\r\n", "\n")
    if "\r" in lines or ("\r\n" in text and lines.count("\n") != text.count("\r\n")):
        raise RemotePathError(f"{path} has line ends of several kinds, which a page cannot keep: download it instead")
    return lines
