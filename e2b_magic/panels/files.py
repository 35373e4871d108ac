"""The *Files* tab: the sandbox's directories as a tree, and one text file to edit."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ipywidgets import HTML, FileUpload, Text

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, ExecutionChanged, ProjectChanged, SettingsChanged
from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, RemoteFileNotFoundError
from e2b_magic.panels.ask import Ask
from e2b_magic.panels.carrying import UPLOAD_LIMIT, Transfers, base_name, bring, hand_over, save, upload
from e2b_magic.panels.controls import FITTING, button, line
from e2b_magic.panels.editor import Editor
from e2b_magic.panels.fields import on_enter
from e2b_magic.panels.rows import Row, Rows
from e2b_magic.panels.tree import Branch, Tree, above, inside
from e2b_magic.panels.view import Refresh, View
from e2b_magic.quantities import size
from e2b_magic.records import FileEntry, Status
from e2b_magic.terminal import one_line

PAGE: Final = 60
"""How many entries a page shows."""
HOME: Final = "/home/user"
_PRESSED_TWICE: Final = 0.5  # within as many seconds a directory is not closed again: a double click opens it


class FilesPanel(View):
    """Shows the files of the current project's sandbox.

    Args:
        client: Whose sandboxes to use; the kernel's client when left out.
    """

    def __init__(self, client: Client | None = None) -> None:
        super().__init__(client)
        self._project = self.client.project
        self._tree = Tree(self.client.get_project_info().path)
        self._first = 0
        self._chosen: FileEntry | None = None
        self._wanted = False
        self._unfolded = ("", 0.0)
        self._refresh = Refresh(self, self._load, pause=0.5)
        self._build()
        self._refresh.ask()

    def _build(self) -> None:
        self.directory = Text(value=self._tree.root, description="Directory", continuous_update=False, style=FITTING)
        on_enter(self.directory, lambda: self.go_to(self.directory.value))
        told = f"Send files of this computer, {size(UPLOAD_LIMIT)} each at most"
        self.upload = FileUpload(multiple=True, tooltip=told)
        self.upload.observe(self._uploaded, "value")
        self.ask = Ask()
        self.transfers = Transfers(self)
        self.editor = Editor(self, self.ask)
        self.rows = Rows(self._pressed, self._turned, heading=f"{'size':>8}  name", empty="There is nothing here.")
        self.choice = HTML()
        self.choice.add_class("e2b-whole")
        self.link = HTML()
        self.download_button = button("Download", "Hand the file to the browser", self._download, icon="download")
        self.rename_button = button("Rename", "Give it another name or place", self._ask_to_rename, icon="i-cursor")
        self.delete_button = button("Delete", "Remove it from the sandbox", self._ask_to_delete, icon="trash")
        written = "Write it, however large, to this kernel's machine"
        self.save_button = button("Save to…", written, self._ask_to_save, icon="hdd-o")
        buttons = (self.download_button, self.save_button, self.rename_button, self.delete_button)
        self.chosen_line = line(self.choice, *buttons, self.link)
        brought = "Bring a file or directory, however large, of this kernel's machine"
        self.show(
            line(
                self.directory,
                button("Up", "The directory above", lambda: self.go_to(above(self._tree.root)), icon="level-up"),
                button("Refresh", "Read the directories again", self._look, icon="refresh"),
            ),
            line(
                button("New file", "Make an empty file", self._ask_for_file, icon="file-o"),
                button("New folder", "Make a directory", self._ask_for_directory, icon="folder-o"),
                self.upload,
                button("From path…", brought, self._ask_to_bring, icon="hdd-o"),
            ),
            self.ask,
            self.transfers,
            self.rows,
            self.chosen_line,
            self.editor,
        )
        self._tell_choice()

    def go_to(self, directory: str) -> None:
        """Shows another directory; a relative one is below the user's home."""
        directory = directory.strip() or HOME
        directory = HOME + directory[1:] if directory.startswith("~") else inside(HOME, directory)
        self._tree = Tree(directory.rstrip("/") or "/")
        self.directory.value = self._tree.root
        self._first, self._chosen = 0, None
        self._tell_choice()
        self._look()

    def _look(self) -> None:
        self.message.clear()
        self._wanted = True
        self._refresh.ask()

    def looked_at(self, now: bool) -> None:
        """Reads the directories again when the tab is turned to."""
        super().looked_at(now)
        if now:
            self._refresh.ask()

    def changed(self, change: Change) -> None:
        """Keeps in step with whatever writes files, or may have."""
        if isinstance(change, ExecutionChanged):
            record = change.record
            told = record.project == self._project and record.status is not Status.PENDING and not record.cached
        else:
            told = change == ProjectChanged(self._project) or isinstance(change, SettingsChanged)
        if told and self.visible:
            self._refresh.ask()

    def _alive(self) -> bool:
        """Whether there is a sandbox that listing its files would neither make nor wake."""
        project = self.client.get_project_info(self._project)
        known = project.sandbox_id and project.backend == self.client.configuration.backend
        return bool(known) and not project.paused and project.sandbox_expires_at > time.time()

    async def _load(self) -> None:
        if self.client.project != self._project:
            self._turn_to(self.client.project)
        wanted, self._wanted = self._wanted, False
        tree = self._tree
        if not wanted and not self._alive():
            tree.fold(tree.root)  # and not another tree: who goes elsewhere just now would be taken back
            self._chosen = None
            self._tell_choice()
            self.rows.show_page([], where="", earlier=False, later=False)
            self.rows.tell("The project has no sandbox that runs: Refresh starts one.")
            return
        try:
            await self._read(tree)
        except E2BMagicError:
            self._show_rows()  # as far as they are known: those of another directory would answer no press
            raise
        self._show_rows()

    async def _read(self, tree: Tree) -> None:
        for directory in tree.opened or [tree.root]:
            try:
                tree.renew(directory, await self.client.alist_files(directory, project=self._project))
            except RemoteFileNotFoundError:
                tree.fold(directory)
                if directory == tree.root:
                    raise

    def _turn_to(self, project: str) -> None:
        """Shows another project's files; what was asked or chosen before is no more, what is edited stays."""
        self._project = project
        self._tree = Tree(self.client.get_project_info(project).path)
        self.directory.value = self._tree.root
        self._first, self._chosen = 0, None
        self.ask.dismiss()
        self._tell_choice()

    def _show_rows(self) -> None:
        with self.rows.drawing:
            self._show_branches(self._tree.rows())

    def _show_branches(self, branches: list[Branch]) -> None:
        if self._first >= len(branches):
            self._first = max(0, (len(branches) - 1) // PAGE * PAGE)
        page = branches[self._first : self._first + PAGE]
        chosen = self._chosen.path if self._chosen else None
        last = self._first + len(page)
        self.rows.show_page(
            [_row(branch, chosen=branch.entry.path == chosen) for branch in page],
            where=f"{self._first + 1:,} to {last:,} of {len(branches):,}",
            earlier=self._first > 0,
            later=last < len(branches),
        )

    def _turned(self, step: int) -> None:
        self._first = max(0, self._first + step * PAGE)
        self._show_rows()

    def _pressed(self, place: int) -> None:
        branches = self._tree.rows()
        if self._first + place >= len(branches):
            return
        branch = branches[self._first + place]
        self.message.clear()
        self._choose(branch.entry)
        if branch.entry.type != "dir":
            self._open(branch.entry.path)
        elif not branch.opened:
            self._unfolded = (branch.entry.path, time.monotonic())
            self.start(lambda: self._unfold(branch.entry.path))
        elif self._unfolded[0] != branch.entry.path or time.monotonic() - self._unfolded[1] > _PRESSED_TWICE:
            self._tree.fold(branch.entry.path)
            self._show_rows()

    async def _unfold(self, directory: str) -> None:
        self._tree.put(directory, await self.client.alist_files(directory, project=self._project))
        self._show_rows()

    def _choose(self, entry: FileEntry | None) -> None:
        self._chosen = entry
        self._tell_choice()
        self._show_rows()

    def _tell_choice(self) -> None:
        entry = self._chosen
        self.chosen_line.layout.display = None if entry else "none"
        self.link.value = ""
        if entry:
            more = html.escape(f"{entry.permissions} {entry.owner}")
            self.choice.value = f'{html.escape(one_line(entry.path))} <span class="e2b-quiet">{more}</span>'
            self.download_button.layout.display = None if entry.type == "file" else "none"

    def _open(self, path: str) -> None:
        project = self._project
        if (self.editor.project, self.editor.path) != (project, path) or not self.editor.changed:
            self.editor.unless_changed(lambda: self.start(lambda: self.editor.show_file(path, project)))

    @property
    def _target(self) -> str:
        """The directory that new files go into."""
        if self._chosen is None:
            return self._tree.root
        return self._chosen.path if self._chosen.type == "dir" else above(self._chosen.path)

    def _ask_for_file(self) -> None:
        self._ask_for_new("file", self._make)

    def _ask_for_new(self, kind: str, make: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        target = self._target
        question = f"New {kind} in {target}"
        self.ask.for_text(question, "", "Make", lambda name: self.start(lambda: make(inside(target, name))))

    async def _make(self, path: str) -> None:
        await self._check_free(path)
        await self.client.awrite_file(path, "", project=self._project)
        self._open(path)

    async def _check_free(self, path: str) -> None:
        if any(entry.path == path for entry in await self._existing(above(path))):
            raise InvalidRequestError(f"{path} is there already: choose another name, or delete it first")

    def _ask_for_directory(self) -> None:
        self._ask_for_new("directory", self._make_directory)

    async def _make_directory(self, path: str) -> None:
        entry = await self.client.amake_directory(path, project=self._project)
        self.message.say(f"Made {entry.path}")

    def _ask_to_rename(self) -> None:
        if (entry := self._chosen) is not None:
            question = f"New name or path of {entry.path}"
            self.ask.for_text(question, entry.name, "Rename", lambda to: self.start(lambda: self._rename(entry, to)))

    async def _rename(self, entry: FileEntry, to: str) -> None:
        path = inside(above(entry.path), to)
        await self._check_free(path)
        moved = await self.client.arename_file(entry.path, path, project=self._project)
        self._tree.fold(entry.path)
        if self.editor.lies_in(entry.path, self._project):
            self.editor.follow(entry.path, moved.path)
        self._choose(moved)
        self.message.say(f"Renamed {entry.path} to {moved.path}")

    def _ask_to_bring(self) -> None:
        project, target = self._project, self._target
        question = f"File or directory of this kernel's machine, to go into {target}"

        def carry(local: str) -> None:
            self.transfers.begin(f"Bringing {local} to {target}", bring, project, local, target)

        self.ask.for_text(question, "", "Bring", carry)

    def _ask_to_save(self) -> None:
        if (entry := self._chosen) is None:
            return
        project = self._project

        def carry(local: str) -> None:
            self.transfers.begin(f"Saving {entry.path} to {local}", save, project, entry, local)

        self.ask.for_text(f"Where {entry.name} goes on this kernel's machine", entry.name, "Save", carry)

    async def _existing(self, directory: str) -> list[FileEntry]:
        try:
            return await self.client.alist_files(directory, project=self._project)
        except RemoteFileNotFoundError:
            return []

    def _ask_to_delete(self) -> None:
        if (entry := self._chosen) is not None:
            what = "the directory with all in it" if entry.type == "dir" else "the file"
            self.ask.for_yes(f"Delete {what}: {entry.path}?", "Delete", lambda: self.start(lambda: self._delete(entry)))

    async def _delete(self, entry: FileEntry) -> None:
        await self.client.aremove_file(entry.path, recursive=entry.type == "dir", project=self._project)
        self._tree.fold(entry.path)
        if self.editor.lies_in(entry.path, self._project):
            self.editor.leave()
        self._choose(None)
        self.message.say(f"Deleted {entry.path}")

    def _download(self) -> None:
        if (entry := self._chosen) is not None:
            self.transfers.begin(f"Reading {entry.path}", hand_over, self._project, entry, self.link)

    def _uploaded(self, change: Any) -> None:
        files = change["new"]
        if files:
            self.upload.value = ()
            self.start(lambda: self._upload(files))

    async def _upload(self, files: tuple[dict[str, Any], ...]) -> None:
        project, target = self._project, self._target
        told = f"Uploading {', '.join(file['name'] for file in files[:3])}"
        there = {entry.name for entry in await self._existing(target)} & {base_name(file["name"]) for file in files}
        if there:
            question = f"{target} has {', '.join(sorted(there)[:3])} already: overwrite?"
            self.ask.for_yes(question, "Overwrite", lambda: self.transfers.begin(told, upload, project, files, target))
        else:
            self.transfers.begin(told, upload, project, files, target)


def _row(branch: Branch, *, chosen: bool) -> Row:
    entry = branch.entry
    mark = ("▾ " if branch.opened else "▸ ") if entry.type == "dir" else "  "
    link = f" → {entry.symlink_target}" if entry.symlink_target is not None else ""
    amount = "" if entry.type == "dir" else size(entry.size)
    amount = amount.replace(" bytes", " B").replace(" byte", " B")
    return Row(f"{amount:>8}  {'  ' * branch.depth}{mark}{one_line(entry.name)}{link}", entry.path, chosen)
