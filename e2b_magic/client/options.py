"""The options that the client's verbs share, as types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.protocol import Event


class Where(TypedDict, total=False):
    """The options of every verb: the project (the current one when left out) and the user inside the sandbox."""

    project: str | None
    user: str | None


class CommandOptions(Where, total=False):
    """The options of `execute_command`.

    `cwd` is the working directory; `envs` are variables, whose values are kept nowhere; `template` is used should a
    sandbox have to be made; `timeout`, in seconds, kills the command; `use_cache=False` neither looks for a stored
    answer nor stores one; `refresh=True` runs the command and stores its answer anew; `stdin` is what it reads.
    """

    cwd: str | None
    envs: Mapping[str, str] | None
    template: str | None
    timeout: float | None
    use_cache: bool
    stdin: str | bytes | None
    refresh: bool


class JobOptions(Where, total=False):
    """The options of a command that goes on by itself: directory, variables, the template of a sandbox to be made."""

    cwd: str | None
    envs: Mapping[str, str] | None
    template: str | None


class WriteOptions(Where, total=False):
    """The options of `write_file`: add to the end instead of replacing, and the permission bits to set."""

    append: bool
    mode: int | None


class FindOptions(Where, total=False):
    """The options of `find_files`.

    `name` is a pattern for the name, such as `*.py`; `kind` is `file` or `dir`; `depth` is how many levels down to
    look; `limit` is how many entries to give.
    """

    name: str | None
    kind: Literal["", "file", "dir"] | None
    depth: int | None
    limit: int | None


class TransferOptions(Where, total=False):
    """The options of `upload` and `download`.

    `exclude` is what to leave out of a directory, in the language of `.gitignore`; `on_progress` is called with the
    bytes that have gone and those that there are (0 as long as nobody knows), `on_event` with what the sandbox tells on
    the way.
    """

    exclude: Sequence[str]
    on_progress: Callable[[int, int], object]
    on_event: Callable[[Event], None] | None


class SyncOptions(TransferOptions, total=False):
    """The options of `upload_changes`.

    What `exclude` names is left alone on both sides, and so is, unless `gitignore=False`, what the directory's
    `.gitignore` files name, and `.git`; `delete` removes what is there and no longer here; `checksum` compares the
    files' contents instead of their times, which means reading them.
    """

    gitignore: bool
    delete: bool
    checksum: bool


FIND_LIMIT = 10_000
"""How many entries `find_files` gives unless told otherwise."""


class Unseen(dict[str, str]):
    """Variables whose values are not shown: a verbose traceback prints the locals of every frame."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: …" for name in self) + "}"


OptionsT = TypeVar("OptionsT", bound=Where)


def checked(options: OptionsT, known: Any, project: str) -> OptionsT:
    """Gives options with the project filled in and the variables' values hidden.

    Args:
        options: What a caller gave.
        known: The TypedDict that says what there is.
        project: The project, where none is named.

    Raises:
        InvalidRequestError: An option is unknown, or the variables are no mapping.
    """
    given: Any = options
    for name in given.keys() - known.__annotations__.keys():
        import difflib  # here, since only a slip needs it

        near = difflib.get_close_matches(name, known.__annotations__, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known.__annotations__))}"
        raise InvalidRequestError(f"There is no option {name!r}: {advice}")
    envs = given.get("envs")
    if envs is not None:
        if not isinstance(envs, Mapping):
            raise InvalidRequestError("envs must be a mapping of names to values")
        given["envs"] = Unseen(envs)
    given["project"] = given.get("project") or project
    return options
