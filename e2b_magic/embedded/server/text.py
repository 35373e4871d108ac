"""Names that are no text: made fit for an answer.

Linux takes any bytes for a name, and Python stands lone surrogates in for those that are not UTF-8. An answer is UTF-8,
which has no lone surrogates: one of them would cost the client the whole answer, a list of a thousand files for one
name. So each becomes U+FFFD, as in what a terminal shows of it; such a file cannot be named through the API.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def readable(text: str) -> str:
    """Gives a text with U+FFFD for whatever in it cannot be told in UTF-8."""
    return _SURROGATE.sub("\ufffd", text)
