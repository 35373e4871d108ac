"""Keeping secrets out of the server's log, whoever writes them there and in whatever traceback."""

from __future__ import annotations

import logging
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_MASK = "[secret]"
# E2B's keys, our kernels' tokens, and the token in a preview's path.
_PATTERNS = re.compile(r"\be2bw?_[A-Za-z0-9_-]{8,}|(?<=/e2b-magic/preview-)[A-Za-z0-9_-]+")


class Redactor(logging.Filter):
    """Masks what looks like a secret, and what is known to be one, in every record that passes."""

    def __init__(self) -> None:
        super().__init__()
        self._known: Counter[str] = Counter()

    @contextmanager
    def hiding(self, secret: str | None) -> Iterator[None]:
        """Masks a text for as long as the block lasts; a very short one, or None, is no secret."""
        if secret is None or len(secret) < 8:
            yield
            return
        self._known[secret] += 1
        try:
            yield
        finally:
            self._known[secret] -= 1
            self._known += Counter()  # drops what has come to nothing

    def hide(self, secret: str) -> None:
        """Masks a text from here on."""
        self._known[secret] += 1

    def redact(self, text: str) -> str:
        """Gives a text with its secrets masked."""
        for secret in self._known:
            text = text.replace(secret, _MASK)
        return _PATTERNS.sub(_MASK, text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Masks a record's text and traceback."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            # Its arguments do not fit: logging itself would print them all, with the traceback of that.
            text = f"{record.msg} (its arguments do not fit)"
        record.msg, record.args = self.redact(text), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = record.exc_text or "".join(traceback.format_exception(*record.exc_info)).rstrip()
        if record.exc_text:
            record.exc_text = self.redact(record.exc_text)
        return True

    def watch(self, *loggers: logging.Logger) -> None:
        """Puts the filter into loggers, and into the handlers by which other loggers' records come."""
        for logger in loggers:
            for place in (logger, *logger.handlers):
                if self not in place.filters:
                    place.addFilter(self)
