"""What a program inside is told when its request goes no further: a status, and one line."""

from __future__ import annotations

import http

# Of what a client sent, so much is shown.
_SHOWN = 100


class Refusal(Exception):  # noqa: N818 - an answer
    """A request that is not served.

    Args:
        status: The HTTP status: 403 for what a rule forbids, 400 for what is no request to a proxy, 502 and 504 for a
            destination that does not answer.
        line: What was wrong, and which rule says so.
    """

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line

    def response(self) -> bytes:
        """Gives the answer to send.

        The line is in the reason phrase too: of a refused CONNECT, most programs show no more than that.
        """
        phrase = f"{http.HTTPStatus(self.status).phrase}: {self.line}"
        body = f"{self.line}\n".encode("ascii", "backslashreplace")
        head = (
            f"HTTP/1.1 {self.status} {phrase}\r\n"
            "Content-Type: text/plain; charset=us-ascii\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode("ascii", "backslashreplace") + body


def shown(text: str) -> str:
    """Gives a text of a client's as a line may hold it: quoted, in ASCII, without control characters, and short."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
