"""Where a project's files come from: a template, a directory of this machine, a mapping, a repository; or nowhere."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import as_file
from pathlib import Path
from typing import TYPE_CHECKING

from e2b_magic.client.trees.scanning import Exclusions, Tree, scan, with_checksum
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.records import TreeEntry
from e2b_magic.worker.requests.projects import check_git_url, check_name, link_checksum

if TYPE_CHECKING:
    from e2b_magic.project_templates import ProjectTemplate

Content = str | bytes
_READ = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProjectSource:
    """A project's source; at most one of the four is given.

    Attributes:
        template: A project template's name.
        directory: A directory of this machine; what its `.gitignore` files exclude is left out.
        git: A repository's address, which the sandbox clones.
        files: The files themselves, by name.
    """

    template: str | None = None
    directory: str | Path | None = None
    git: str | None = None
    files: Mapping[str, Content] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        given = [name for name in ("template", "directory", "git", "files") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidRequestError(f"A project has one source: give {' or '.join(given)}, not both")
        if self.directory is not None and not Path(self.directory).expanduser().is_dir():
            raise InvalidRequestError(f"{self.directory} is no directory of this machine")
        for name in self.files or ():
            check_name(name)
        if self.git is not None:
            if not self.git.strip():
                raise InvalidRequestError("The repository's address is empty")
            check_git_url(self.git)

    def __str__(self) -> str:
        if self.template is not None:
            return f"template {self.template}"
        if self.directory is not None:
            return f"directory {Path(self.directory).expanduser().resolve()}"
        if self.git is not None:
            return f"git {self.git}"
        return "" if self.files is None else "files"

    def found_template(self) -> ProjectTemplate | None:
        """Gives the template, if it is one.

        Raises:
            InvalidRequestError: None has that name.
        """
        if self.template is None:
            return None
        from e2b_magic.project_templates import find_template  # here, since loading the magics does without it

        return find_template(self.template)

    @contextmanager
    def tree(self) -> Iterator[Tree | None]:
        """Gives the files as a tree with checksums, for as long as the `with` lasts; None when none are brought."""
        with ExitStack() as held:
            if (template := self.found_template()) is not None:
                root = held.enter_context(as_file(template.files))
                found = scan(root, Exclusions(["__pycache__/"]))  # which pip leaves beside every module
            elif self.directory is not None:
                found = scan(Path(self.directory).expanduser().resolve(), Exclusions(gitignore=True))
            elif self.files is not None:
                root = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="e2b-magic-")))
                _lay_out(root, self.files)
                found = scan(root)
            else:
                yield None
                return
            found.entries = [_summed(found.root, entry) for entry in found.entries]
            yield found


def _lay_out(root: Path, files: Mapping[str, Content]) -> None:
    for name, content in files.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise InvalidRequestError(f"{name!r} cannot be a file beside the others ({error.strerror})") from None
        path.chmod(0o755 if path.read_bytes()[:2] == b"#!" else 0o644)


def _summed(root: Path, entry: TreeEntry) -> TreeEntry:
    if entry.type == "file":
        return with_checksum(root, entry)
    if entry.type == "link":
        return replace(entry, checksum=link_checksum(entry.target))
    return entry


def begins(path: Path, size: int, checksum: str) -> bool:
    """Whether the first bytes of a file are those of another one.

    Args:
        path: The file.
        size: How many bytes the other one has.
        checksum: Its SHA-256.
    """
    if not path.is_file() or path.stat().st_size < size:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(min(size, _READ)):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest() == checksum
