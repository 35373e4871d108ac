"""Which variables are the shell's own in a command's text: those that the text itself gives a value.

`for i in 1 2 3; do echo $i; done` means the shell's `i`, whatever `i` is in the notebook, where an earlier loop may
well have left one. So from its loop, its assignment or its `read` on, a name is the shell's. Before that, as in `x=$x`,
it is Python's; and so it is in `NAME=$name command`, which gives the shell no variable.
"""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = r"[A-Za-z_]\w*"
# Where a command may begin: the text's beginning, after an operator, or after a word that commands follow.
_BEGINS: Final = r"(?:^|[;&|({\n]|\b(?:do|then|else|if|while|until)\b)\s*"
_WORD: Final = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`|\\.|[^\s;&|"'`\\()])*"""
_ASSIGNED: Final = rf"(?:{_NAME}\+?={_WORD})"
_LOOP: Final = re.compile(rf"{_BEGINS}(?:for|select)\s+(?:\(\(\s*)?({_NAME})")
_ASSIGNMENT: Final = re.compile(
    rf"{_BEGINS}((?:(?:export|local|readonly|declare|typeset)\s+(?:-\w+\s+)*)?{_ASSIGNED}(?:[ \t]+{_ASSIGNED})*)"
    r"[ \t]*(?=[;&|)}\n]|$)",
    re.DOTALL,
)
_READING: Final = re.compile(
    rf"{_BEGINS}(?:IFS={_WORD}\s+)?(?:read|mapfile|readarray)(?:\s+(?:-\w+|\d+|'[^']*'|\"[^\"]*\"))*((?:\s+{_NAME})+)"
)
_TARGET: Final = re.compile(rf"(?:^|\s)({_NAME})\+?=")


def names_of_the_shell(text: str) -> dict[str, int]:
    """Gives the names that a command's text gives a value, and for each the place from which it is the shell's."""
    found = [(match.end(), [match[1]]) for match in _LOOP.finditer(text)]
    found += [(match.end(), _TARGET.findall(match[1])) for match in _ASSIGNMENT.finditer(text)]
    found += [(match.end(), match[1].split()) for match in _READING.finditer(text)]
    places: dict[str, int] = {}
    for place, names in found:
        for name in names:
            places[name] = min(place, places.get(name, place))
    return places
