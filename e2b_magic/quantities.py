"""Times and sizes in words, as magics and panels show them."""

from __future__ import annotations

import re
import time
from typing import Final

_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(s|min|m|h|d)?")
_SECONDS: Final = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def span(seconds: float) -> str:
    """Gives a time span in its largest fitting unit: `42 s`, `3 min`, `2 h`, `5 d`."""
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "0 s"


def remaining(seconds: float) -> str:
    """Gives how much time is left, to the nearest of its second unit: `42 s`, `59 min`, `1 h 30 min`, `6 d 23 h`.

    Rounded, where `span` cuts: who has just asked for ten minutes is not to read that nine are left.
    """
    if seconds < 59.5:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes >= 24 * 60:
        days, hours = divmod(round(minutes / 60), 24)
        return f"{days} d {hours} h" if hours else f"{days} d"
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join(filter(None, parts))


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


def share(done: int, total: int) -> str:
    """Gives the bytes that have gone, and those that there are when that is known: `2 MB of 5 MB`."""
    return f"{size(done)} of {size(total)}" if total else size(done)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Gives a number with its noun: `1 result`, `2,000 results`, and with its plural where an `s` is not enough."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def to_seconds(text: str) -> float:
    """Gives a span such as `90`, `30s`, `5m` or `2h` in seconds.

    Raises:
        ValueError: It is none; the message says what would be right.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time span: write seconds, or 30s, 5m, 2h, 3d")
    return float(match[1]) * _SECONDS[match[2]]
