"""A course over time as a small picture: inline SVG of a few lines, with the figures as text for who cannot see it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

WIDTH: Final = 240
HEIGHT: Final = 40


def sparkline(title: str, values: Sequence[float], *, most: float, latest: str) -> str:
    """Gives a line of values as HTML.

    Args:
        title: What is measured.
        values: What was measured, oldest first.
        most: The value at the upper edge.
        latest: The newest value, in words.
    """
    label = html.escape(f"{title}: {latest}", quote=True)
    caption = f"<figcaption>{html.escape(title)} <strong>{html.escape(latest)}</strong></figcaption>"
    return (
        f'<figure>{caption}<svg role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}"><title>{label}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--e2b-well)"/>'
        f'<polyline points="{_points(values, most)}" fill="none" stroke="var(--jp-brand-color1,#1a73e8)" '
        'stroke-width="1.5" stroke-linejoin="round"/></svg></figure>'
    )


def _points(values: Sequence[float], most: float) -> str:
    step = WIDTH / max(1, len(values) - 1)
    shares = [min(1.0, max(0.0, value / most)) if most > 0 else 0.0 for value in values]
    if len(shares) == 1:
        shares = shares * 2
        step = WIDTH
    return " ".join(f"{place * step:.1f},{HEIGHT - 1 - share * (HEIGHT - 2):.1f}" for place, share in enumerate(shares))
