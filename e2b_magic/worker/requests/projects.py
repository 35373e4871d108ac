"""Requests that make a project's files and install what it needs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.requests.base import check_text
from e2b_magic.worker.requests.commands import LONGEST, check_variables
from e2b_magic.worker.requests.files import OnPath

MOST_FILES = 50_000
"""How many files a project may bring: their names and checksums are one request."""
_CHECKSUM = re.compile(r"[0-9a-f]{64}")


def link_checksum(target: str) -> str:
    """Gives what stands for a link, by where it leads, among the checksums of files."""
    return hashlib.sha256(f"link to {target}".encode()).hexdigest()


def check_name(name: str) -> None:
    """Refuses what is no path below a directory.

    Raises:
        InvalidRequestError: It is absolute, empty, or leads out.
    """
    check_text("A file's name", name)
    if not name or name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise InvalidRequestError(
            f"{name!r} is no file of a project: name it from the project's directory, without '..'"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithFiles(OnPath):
    """What a request carries on the files that a project brings.

    Attributes:
        path: The project's directory.
        checksums: The SHA-256 of each file, and of each link's target, by its name from there.
    """

    checksums: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        OnPath.__post_init__(self)
        if len(self.checksums) > MOST_FILES:
            raise InvalidRequestError(
                f"A project brings {MOST_FILES:,} files at most, not {len(self.checksums):,}: leave out what is built "
                "or installed, by a .gitignore"
            )
        for name, checksum in self.checksums.items():
            check_name(name)
            if not _CHECKSUM.fullmatch(checksum):
                raise InvalidRequestError(f"The checksum of {name!r} is no SHA-256")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFiles(_WithFiles):
    """Compare a project's files with those in its directory.

    The answer lists names: `missing` ones, `changed` ones that are there as they were brought, `edited` ones that were
    changed there since, and `gone` ones that were brought earlier, are no longer named, and were not changed there.
    `unsure` has those of the edited that an unfinished setup may have left as the beginning of what it brought, with
    their sizes in bytes and checksums: whoever has the files can tell.
    """

    type: ClassVar[str] = "compare_files"
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupProject(_WithFiles):
    """Make a project ready: its files are there, or are cloned; then what it needs is installed.

    Attributes:
        remove: Files to remove, of those that `CompareFiles` called gone.
        git: A repository to clone, or, where that was done, to bring up to date; empty for none.
        ref: The branch or tag; the repository's own when empty.
        install: What to run in the directory then; empty for nothing.
        envs: Variables for `git` and `install`; left out of every repr.
        timeout: Seconds after which either is killed; None lets it run.
    """

    type: ClassVar[str] = "setup_project"
    remove: list[str] = field(default_factory=list, repr=False)
    git: str = ""
    ref: str = ""
    install: str = ""
    envs: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: float | None = None

    def __post_init__(self) -> None:
        _WithFiles.__post_init__(self)
        for name in self.remove:
            check_name(name)
        check_git_url(self.git)
        for what, text in (("The branch", self.ref), ("The install command", self.install)):
            check_text(what, text)
        if self.ref.startswith("-"):
            raise InvalidRequestError(f"{self.ref!r} names no branch")
        if self.ref and not self.git:
            raise InvalidRequestError(f"{self.ref!r} is a branch of no repository: give that, too (git, or --git URL)")
        check_variables(self.envs)
        if self.timeout is not None and not 0 < self.timeout <= LONGEST:
            raise InvalidRequestError(f"timeout must be a number of seconds above 0, not {self.timeout!r}")


def check_git_url(url: str) -> None:
    """Refuses an address that git cannot take, or that holds a secret: it is stored with the project.

    Raises:
        InvalidRequestError: It is one; the text does not repeat it.
    """
    check_text("The repository's address", url)
    if url.startswith("-") or (url and not url.strip()):
        raise InvalidRequestError(
            "The repository's address must be a URL or a path, as in https://example.org/team/app"
        )
    try:
        parts = urlsplit(url)
        secret = parts.scheme in ("http", "https") and parts.username is not None
    except ValueError:
        raise InvalidRequestError("The repository's address is no URL that can be read") from None
    if secret:
        raise InvalidRequestError(
            "The repository's address holds a name or password, which would be stored: give it to git by a variable, "
            "such as GIT_ASKPASS, or bring the directory"
        )
