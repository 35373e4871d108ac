"""The options that the client's verbs share, as types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class Where(TypedDict, total=False):
    """The options of every verb: the project (the current one when left out) and the user inside the sandbox."""

    project: str | None
    user: str | None


class CommandOptions(Where, total=False):
    """The options of `execute_command`.

    `cwd` is the working directory; `envs` are variables, whose values are kept nowhere; `template` is used should a
    sandbox have to be made; `timeout`, in seconds, kills the command; `use_cache=False` neither looks for a stored
    answer nor stores one; `refresh=True` runs the command and stores its answer anew.
    """

    cwd: str | None
    envs: Mapping[str, str] | None
    template: str | None
    timeout: float | None
    use_cache: bool
    refresh: bool


class WriteOptions(Where, total=False):
    """The options of `write_file`: add to the end instead of replacing, and the permission bits to set."""

    append: bool
    mode: int | None
