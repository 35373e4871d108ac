"""What a magic's command is declared as, once: from it come its parser, its help, its completion and its reference.

A `Command` holds `Argument`s. `Command.parse` reads a line: `scanning` takes it apart, the argparse parser made from
the same arguments converts the words. `raw` names the text after the options when that is to stay as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from IPython.core.error import UsageError

from e2b_magic.magics.context import Context
from e2b_magic.magics.scanning import UnclosedError, scan

Function = Callable[[Context, argparse.Namespace], object]
Candidates = Callable[[Context], Iterable[str]]


class HelpWanted(Exception):  # noqa: N818  it is no error
    """The line holds `--help`."""


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An option, when its names begin with `-`, or a word.

    Attributes:
        names: An option's names, the long one last; a word's single name.
        summary: What it does, in a phrase.
        metavar: What stands for its value in the help; an option without one is a flag.
        convert: Makes the value of a text; raises `argparse.ArgumentTypeError` with what would be right.
        choices: The texts that are allowed, when they are few.
        default: The value when it is left out.
        repeat: Whether an option may stand more than once; its value is a list then.
        required: Whether a word may not be left out.
        complete: Gives the values that Tab offers.
    """

    names: tuple[str, ...]
    summary: str
    metavar: str = ""
    convert: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    default: Any = None
    repeat: bool = False
    required: bool = False
    complete: Candidates | None = None

    @property
    def is_option(self) -> bool:
        """Whether it is an option."""
        return self.names[0].startswith("-")

    @property
    def is_flag(self) -> bool:
        """Whether it is an option without a value."""
        return self.is_option and not self.metavar

    @property
    def usage(self) -> str:
        """How it is written."""
        name = self.names[-1]
        if self.is_option:
            inner = f"{name} {self.metavar}".strip()
            return f"[{inner}]" + ("…" if self.repeat else "")
        return self.metavar if self.required else f"[{self.metavar}]"

    def candidates(self, context: Context) -> Iterable[str]:
        """Gives the values that Tab offers."""
        return self.choices if self.complete is None else self.complete(context)


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are IPython's, in one line."""

    def __init__(self, command: Command) -> None:
        super().__init__(prog=command.invocation, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the magics.

    Attributes:
        name: Its name after `%e2b`, of one word or two, or a cell magic's own name, `%%` included.
        summary: What it does, in one sentence without a full stop.
        run: Does it.
        arguments: Its options and words.
        raw: The text after the options, when it is taken as it is written.
        examples: Lines that show it.
        notes: What else a user should know, in paragraphs.
        stray: What is said to whoever gives it a word too many; its usage when left out.
    """

    name: str
    summary: str
    run: Function = field(repr=False)
    arguments: tuple[Argument, ...] = ()
    raw: Argument | None = None
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stray: str = ""

    @property
    def invocation(self) -> str:
        """How it is called, without arguments."""
        return self.name if self.name.startswith("%") else f"%e2b {self.name}"

    @property
    def usage(self) -> str:
        """How it is called."""
        words = [argument.usage for argument in self.arguments]
        if self.raw is not None:
            words.append(self.raw.usage)
        return " ".join([self.invocation, *words])

    @cached_property
    def options(self) -> dict[str, Argument]:
        """Its options, by each of their names."""
        return {name: one for one in self.arguments if one.is_option for name in one.names}

    @cached_property
    def positional(self) -> list[Argument]:
        """Its words."""
        return [one for one in self.arguments if not one.is_option]

    @cached_property
    def takes_value(self) -> dict[str, bool]:
        """For each option's name whether a value follows it."""
        return {name: not one.is_flag for name, one in self.options.items()}

    @cached_property
    def parser(self) -> argparse.ArgumentParser:
        """The parser made from the declaration."""
        parser = _Parser(self)
        for one in self.arguments:
            settings: dict[str, Any] = {"default": [] if one.repeat else one.default}
            if one.is_flag:
                settings |= {"action": "store_true", "default": False}
            else:
                settings |= {"type": one.convert, "metavar": one.metavar}
                if one.choices:
                    settings["choices"] = one.choices
                if one.repeat:
                    settings["action"] = "append"
                if not one.is_option and not one.required:
                    settings["nargs"] = "?"
            parser.add_argument(*one.names, **settings)
        return parser

    def parse(self, line: str, context: Context) -> argparse.Namespace:
        """Gives the values of a line's arguments.

        Raises:
            UsageError: The line cannot be meant.
            HelpWanted: It asks for help instead.
        """
        try:
            scanned = scan(line, self.takes_value, raw=self.raw is not None, expand=context.expander.piece)
        except UnclosedError as error:
            raise UsageError(f"{self.invocation}: {error}") from None
        options = [one for option in scanned.options for one in self._single(option)]
        for option in options:
            self._check_option(option.partition("=")[0])
        if len(scanned.words) > len(self.positional):
            stray = scanned.words[len(self.positional)]
            raise UsageError(f"{self.invocation} does not take {stray!r}: {self.stray or self.usage}")
        words = ["--", *scanned.words] if scanned.words else []
        arguments = self.parser.parse_args([*options, *words])
        if self.raw is not None:
            text = context.expander.text(scanned.rest).strip()
            if self.raw.required and not text:
                raise UsageError(f"{self.invocation} needs a {self.raw.metavar.strip('…').lower()}: {self.usage}")
            setattr(arguments, self.raw.names[0], text)
        return arguments

    def _single(self, option: str) -> list[str]:
        """Gives the flags that are written as one, as in `rm -rf`; any other option as it is."""
        flags = [f"-{letter}" for letter in option[1:]]
        fits = all(flag in self.options and self.options[flag].is_flag for flag in flags)
        return flags if fits and option not in self.options else [option]

    def _check_option(self, name: str) -> None:
        if name in ("--help", "-h"):
            raise HelpWanted
        if name not in self.options:
            raise UsageError(
                f"{self.invocation} has no option {name}{did_you_mean(name, self.options)}; "
                f"see {self.invocation} --help"
            )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Gives `: did you mean …?` for the one or two that come nearest; nothing when nothing is near."""
    from difflib import get_close_matches

    # The dashes that all options share would make any two of them alike.
    bare = {name.lstrip("-"): name for name in known}
    near = [bare[match] for match in get_close_matches(word.lstrip("-"), list(bare), n=2)]
    return f": did you mean {' or '.join(near)}?" if near else ""
