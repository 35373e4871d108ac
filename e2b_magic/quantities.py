"""Times and sizes in words, as magics and panels show them."""

from __future__ import annotations

import time
from typing import Final

_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """Gives a time span in its largest fitting unit: `42 s`, `3 min`, `2 h`, `5 d`."""
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "0 s"


def ago(moment: float, now: float | None = None) -> str:
    """Gives how long a moment is past; one in the future, after a clock was set back, is `now`."""
    passed = (time.time() if now is None else now) - moment
    return f"{span(passed)} ago" if passed >= 1 else "now"


def size(count: int) -> str:
    """Gives a number of bytes in its largest fitting decimal unit."""
    if count < 1000:
        return f"{count} bytes" if count != 1 else "1 byte"
    number = float(count)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.5 or unit == "GB":
            break
    return f"{number:.3g} {unit}" if number < 999.5 else f"{number:,.0f} {unit}"


def counted(number: int, noun: str) -> str:
    """Gives a number with its noun: `1 result`, `2,000 results`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
