"""The parts of a multipart body, as they arrive.

`python_multipart` finds the boundaries; `PartReader` turns its callbacks into a list of events per chunk, so that
the one who stores the parts can wait for the disk between two chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from e2b_magic.embedded.server.protocol_errors import ProtocolError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins.

    Attributes:
        name: The form field's name.
        filename: The file's name as the client gives it, directories included; empty for none.
    """

    name: str
    filename: str


@dataclass(frozen=True, slots=True)
class PartData:
    """A piece of the current part's content, as it lies in the chunk that it came in."""

    content: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The current part is complete."""


PartEvent = PartBegin | PartData | PartEnd


class PartReader:
    """Reads a multipart body chunk by chunk.

    Args:
        content_type: The request's content type, with the boundary.

    Raises:
        ProtocolError: There is no boundary.
    """

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise ProtocolError(400, "the multipart content type names no boundary")
        self._events: list[PartEvent] = []
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._complete = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as error:
            raise ProtocolError(400, f"the multipart boundary is no good: {error}") from error

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def feed(self, chunk: bytes) -> list[PartEvent]:
        """Gives what a chunk of the body brings.

        Raises:
            ProtocolError: The body is no multipart body.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ProtocolError(400, f"the multipart body cannot be read: {error}") from error
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Makes sure that the body is complete.

        Raises:
            ProtocolError: It ended early.
        """
        if not self._complete:
            raise ProtocolError(400, "the multipart body ended before its last boundary")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._disposition = b""
        try:
            begin = PartBegin(options.get(b"name", b"").decode(), options.get(b"filename", b"").decode())
        except UnicodeDecodeError as error:
            raise ProtocolError(400, "a part's name or file name is not UTF-8") from error
        self._events.append(begin)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(memoryview(data)[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(PartEnd())

    def _on_end(self) -> None:
        self._complete = True
