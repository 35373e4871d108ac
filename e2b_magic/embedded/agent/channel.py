"""The agent's end of its channel: one `SOCK_SEQPACKET` socket, whose messages come and go in fragments.

A fragment is one byte, `+` (more follows) or `.` (the last), then up to 60,000 bytes; descriptors travel with the
last one. Requests are written by `marshal`, which is built in, and safe because the daemon is trusted; answers are
JSON, which the daemon can read from an agent that it does not trust.
"""

from __future__ import annotations

import _socket  # `socket` itself brings in `selectors` and `enum`: 8 ms of every start
import os
import sys
from _json import encode_basestring_ascii
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Well under the least send buffer that Linux gives a Unix socket (212,992 bytes, shared with its bookkeeping).
FRAGMENT = 60_000
# The most that the daemon takes for one answer.
ANSWER_LIMIT = 8 * 1024 * 1024
# The most descriptors with one request: standard input, output and error.
DESCRIPTORS = 3


def encode(value: Any) -> str:
    """Gives a value of plain types as JSON; file names that are not UTF-8 travel as lone surrogates."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring_ascii(key)}:{encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encode, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


class Channel:
    """Receives requests and sends answers.

    Args:
        descriptor: The socket that bubblewrap was started with.
    """

    def __init__(self, descriptor: int) -> None:
        # It came through bubblewrap, so it is inheritable: whoever had it could answer in the agent's name.
        os.set_inheritable(descriptor, False)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, descriptor)
        self._space = _socket.CMSG_SPACE(4 * DESCRIPTORS)

    def fileno(self) -> int:
        """Gives the descriptor to wait on."""
        return self._socket.fileno()

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Gives the next request and the descriptors that came with it; None when the daemon is gone."""
        parts: list[bytes] = []
        descriptors: list[int] = []
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(FRAGMENT + 1, self._space, _socket.MSG_CMSG_CLOEXEC)
            if not data:
                return None
            for _, _, payload in ancillary:
                descriptors.extend(memoryview(payload).cast("i"))
            parts.append(data[1:])
            if data[:1] == b".":
                return loads(b"".join(parts)), descriptors  # noqa: S302 - from the daemon, who is trusted

    def send(self, message: dict[str, Any], descriptors: Iterable[int] = ()) -> None:
        """Sends an answer, or an error in its place when it is longer than the daemon would take."""
        data = encode(message).encode("ascii")
        if len(data) > ANSWER_LIMIT:
            text = "the answer would be too long; ask for less, a smaller depth for instance"
            data = encode({"id": message["id"], "error": {"code": "exhausted", "message": text}}).encode("ascii")
        while len(data) > FRAGMENT:
            self._socket.sendmsg([b"+", data[:FRAGMENT]])
            data = data[FRAGMENT:]
        rights = b"".join(descriptor.to_bytes(4, sys.byteorder) for descriptor in descriptors)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
        self._socket.sendmsg([b".", data], ancillary)
