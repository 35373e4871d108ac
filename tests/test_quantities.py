"""Times and sizes in words."""

from __future__ import annotations

from e2b_magic.quantities import ago, remaining, size, span


def test_spans_and_sizes_are_short() -> None:
    """Times and sizes are shown in the unit that fits, also at their edges and after a clock was set back."""
    assert [span(seconds) for seconds in (0.2, 59, 60, 3600, 172800)] == ["0 s", "59 s", "1 min", "1 h", "2 d"]
    assert [remaining(seconds) for seconds in (-1, 42.4, 59.9, 599.9, 5400, 7199, 86399, 604799, 7200 + 604700)] == [
        "0 s", "42 s", "1 min", "10 min", "1 h 30 min", "2 h", "1 d", "7 d", "7 d 2 h",
    ]  # fmt: skip
    assert [ago(moment, 1000.0) for moment in (940.0, 999.9, 5000.0)] == ["1 min ago", "now", "now"]
    assert [size(count) for count in (0, 1, 999, 1500, 999_900, 5_000_000, 3 * 10**12)] == [
        "0 bytes", "1 byte", "999 bytes", "1.5 kB", "1 MB", "5 MB", "3,000 GB",
    ]  # fmt: skip
