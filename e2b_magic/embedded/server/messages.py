"""How the messages of E2B's services are read and written: as JSON by E2B's SDKs, in binary by others."""

from __future__ import annotations

import binascii
import re
from typing import Any

from connectrpc.code import Code
from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from e2b.envd.process.process_pb import ConnectResponse, ProcessEvent, StartResponse
from protobuf import Oneof

# E2B's messages nest six deep. The JSON reader of protobuf-py-ext 0.6 recurses without a bound, and ends the whole
# process somewhere past ten thousand; its binary reader has this very bound.
DEEPEST = 100
_TEXT = re.compile(rb'(?s)"(?:[^"\\]++|\\.)*+"')
_BRACKET = re.compile(rb"[\[\]{}]")


def too_deep(data: bytes | bytearray) -> bool:
    """Whether a JSON text nests deeper than any message does."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return False
    depth = deepest = 0
    for bracket in _BRACKET.finditer(_TEXT.sub(b"", data)):
        depth += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def output_json(message: Any) -> bytes | None:
    """Gives the JSON of a piece of output, None of any other message.

    It is most of what a server writes. The general way goes through a text, which is then encoded: that takes a quarter
    longer.
    """
    if not isinstance(message, StartResponse | ConnectResponse) or message.event is None:
        return None
    match message.event.event:
        case Oneof(value=ProcessEvent.DataEvent(output=Oneof(field=channel, value=bytes(chunk)))):
            parts = (
                b'{"event":{"data":{"',
                channel.encode(),
                b'":"',
                binascii.b2a_base64(chunk, newline=False),
                b'"}}}',
            )
            return b"".join(parts)
        case _:
            return None


class CheckedCodec:
    """A codec whose failures are answers: of reading, that the client is mistaken; of writing, that the server is.

    Args:
        codec: What reads and writes.
    """

    def __init__(self, codec: Codec[Any, Any]) -> None:
        self._codec = codec

    def name(self) -> str:
        """Gives its name in a content type."""
        return self._codec.name()

    def encode(self, message: Any) -> bytes:
        """Writes a message.

        Raises:
            ConnectError: It holds what cannot be written; connectrpc would take anything else for a broken connection.
        """
        try:
            output = output_json(message) if self.name() == "json" else None
            return self._codec.encode(message) if output is None else output
        except (ValueError, TypeError, OverflowError) as error:
            text = f"the answer cannot be told: {type(error).__name__} in a {type(message).__name__}"
            raise ConnectError(Code.INTERNAL, text) from error

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        """Reads a message.

        Raises:
            ConnectError: It is none of that kind.
        """
        if self.name() == "json" and too_deep(data):
            raise ConnectError(Code.INVALID_ARGUMENT, f"the message nests deeper than {DEEPEST} levels")
        try:
            return self._codec.decode(data, message_class)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ConnectError(Code.INVALID_ARGUMENT, f"the message is no {message_class.__name__}") from error


CODECS = (CheckedCodec(proto_json_codec()), CheckedCodec(proto_binary_codec()))
