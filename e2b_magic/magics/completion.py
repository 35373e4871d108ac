"""What Tab offers on a line of ours: commands, options, and the values that are known without asking a sandbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.exceptions import E2BMagicError
from e2b_magic.magics import registry
from e2b_magic.magics.command import Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.scanning import UnclosedError, scan

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    Matcher = Callable[[CompletionContext], SimpleMatcherResult]

# The magic at a line's beginning, or behind an assignment's sign.
_WORDS: Final = re.compile(r"(?:\\.|[^\s\\])+\\?|\\\Z", re.DOTALL)  # in which a backslash may protect a space
_OURS: Final = re.compile(r"(?:.*=)?\s*(%%e2b_file|%%e2b|%e2b)\s(.*)", re.DOTALL)


def candidates(before: str, context: Context) -> tuple[str, list[str]] | None:
    """Gives the word that is being written and what it may become; None when the line is none of ours.

    Args:
        before: The line up to the cursor.
        context: Where values are looked up.
    """
    match = _OURS.fullmatch(before)
    if match is None:
        return None
    magic, line = match.groups()
    fragment = _last_word(line)
    settled = line[: len(line) - len(fragment)]
    try:
        offered = _offered(magic, settled, fragment, context)
    except (UsageError, UnclosedError, E2BMagicError):
        offered = []  # the line has no meaning yet, or the store no answer: running it says which, Tab is no place to
    return fragment, [word for word in dict.fromkeys(offered) if word.startswith(fragment)]


def _last_word(line: str) -> str:
    """Gives the word that a line ends in; nothing when it ends in space."""
    words = list(_WORDS.finditer(line))
    return words[-1][0] if words and words[-1].end() == len(line) else ""


def _offered(magic: str, settled: str, fragment: str, context: Context) -> Iterable[str]:
    if magic != "%e2b":
        return _arguments(registry.CELL[magic], settled, fragment, context)
    words = settled.split()
    if not words:
        return registry.names()
    seconds = [name.split()[1] for name in registry.LINE if name.startswith(f"{words[0]} ")]
    if seconds and len(words) == 1:
        return seconds
    command, rest = registry.find(settled)
    return _arguments(command, rest, fragment, context)


def _arguments(command: Command, settled: str, fragment: str, context: Context) -> Iterable[str]:
    scanned = scan(settled, command.takes_value, raw=command.raw is not None, expand=lambda piece: piece.text)
    context = replace(context, word=fragment, given=_given(command, scanned.options))
    last = scanned.options[-1] if scanned.options else ""
    if command.takes_value.get(last) and settled.rsplit(maxsplit=1)[-1] == last:
        return command.options[last].candidates(context)
    if scanned.rest:
        return [] if command.raw is None else command.raw.candidates(context)
    name, equals, value = fragment.partition("=")
    if equals and name in command.options and not scanned.closed:
        context = replace(context, word=value)
        return [f"{name}={value}" for value in command.options[name].candidates(context)]
    used = {option.partition("=")[0] for option in scanned.options}
    options = [
        one.names[-1] for one in command.arguments if one.is_option and (one.repeat or not used.intersection(one.names))
    ]
    if fragment.startswith("-"):
        return [] if scanned.closed else [*options, "--help"]
    words = [*command.positional, *([command.raw] if command.raw is not None else [])][len(scanned.words) :]
    values = list(words[0].candidates(context)) if words else []
    if command.raw is not None and words and words[0] is command.raw:
        return values if fragment or scanned.closed else [*values, *options]
    return values or ([] if fragment or scanned.closed else options)


def _given(command: Command, options: Iterable[str]) -> dict[str, str]:
    """Gives the options that a line has so far, by their long names."""
    pairs = (option.partition("=") for option in options)
    return {command.options[name].names[-1]: value for name, _, value in pairs if value and name in command.options}


def matcher(context_of: Callable[[], Context]) -> Matcher:
    """Gives a matcher for `IPCompleter.custom_matchers`.

    The older hook, `complete_command`, is asked about a line's first word only, and so never about `r = %e2b …`.
    """
    from IPython.core.completer import SimpleCompletion, context_matcher

    def complete(completion: CompletionContext) -> SimpleMatcherResult:
        found = candidates(completion.text_until_cursor, context_of())
        if found is None:
            return {"completions": []}
        fragment, words = found
        # IPython asks its own matchers where ours has nothing, which takes as long as all of ours; a word that stays as
        # it is keeps them out.
        words = words or [fragment] * bool(fragment)
        return {
            "completions": [SimpleCompletion(text=word, type="e2b") for word in words],
            "matched_fragment": fragment,
            "suppress": True,  # names of Python and files of this machine mean nothing here
        }

    marked: Matcher = context_matcher(identifier="e2b_magic")(complete)
    return marked
