"""A sandbox's text as HTML."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.panels.ansi import Style, to_html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("\x1b[31mred\x1b[0m on", '<span class="e2b-fg-1">red</span> on'),
        ("\x1b[1;92mdone\x1b[22;39m", '<span class="e2b-bold e2b-fg-10">done</span>'),
        ("\x1b[44mblue", '<span class="e2b-bg-4">blue</span>'),
        ("\x1b[38;5;208mx", '<span style="color:#ff8700">x</span>'),
        ("\x1b[48;5;232mx", '<span style="background-color:#080808">x</span>'),
        ("\x1b[38;2;1;2;300mx", '<span style="color:#0102ff">x</span>'),
        ("\x1b[38:5:3mx", '<span class="e2b-fg-3">x</span>'),
        ("\x1b[38;9mx", "x"),
        ("\x1b[" + "9" * 5000 + "mx", "x"),
        ("\x1b[mx", "x"),
        ("10 %\r100 %\n", "100 %\n"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("a\bb\b\bc", "c"),
        ("\x1b]0;title\x07x\x1b[2J", "x"),
    ],
)
def test_colours_are_spans_and_the_rest_is_text(text: str, shown: str) -> None:
    """Colours become spans, what is written over is gone, everything else is escaped or taken out."""
    assert to_html(text)[0] == shown


def test_a_style_goes_on_in_the_next_piece() -> None:
    """A colour that was switched on stays on until it is switched off."""
    first, style = to_html("\x1b[31ma")
    second, style = to_html("b\x1b[0mc", style)
    assert (first, second) == ('<span class="e2b-fg-1">a</span>', '<span class="e2b-fg-1">b</span>c')
    assert style == Style()


@given(st.text(alphabet=st.sampled_from(list("<>&\"'/=abc \n\r\b\x1b[]0123456789;:m\x07\x9b"))))
def test_nothing_is_live(text: str) -> None:
    """Whatever is written, the only tags are our own spans, and no control character is left."""
    shown, _ = to_html(text)
    bare = re.sub(r'</?span(?: class="[a-z0-9 -]+")?(?: style="[a-z:#0-9;-]+")?>', "", shown)
    assert not re.search("[<>\"']", bare)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html.unescape(bare))
