"""Where bodies end: as h11 has it, whatever pieces they come in."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.embedded.server.framing import ByChunks, ByLength, Framing, FramingError, framing_of

CHUNKS = st.lists(st.binary(min_size=1, max_size=300), max_size=8)
CUTS = st.lists(st.integers(0, 3000), max_size=12)


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def _unwrapped(framing: Framing, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Gives the content, and what came after the body."""
    content, rest = b"", b""
    for piece in pieces:
        data = memoryview(bytearray(piece))
        length, used = framing.unwrap(data)
        content += bytes(data[:length])
        rest += bytes(data[used:])
    return content, rest


def _by_h11(data: bytes) -> tuple[bytes, bytes] | None:
    """Gives what h11 makes of a body in chunks; None where that is nothing."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + data)
    parser.next_event()
    content = b""
    try:
        while isinstance(event := parser.next_event(), h11.Data):
            content += event.data
    except h11.RemoteProtocolError:
        return None
    return (content, parser.trailing_data[0]) if isinstance(event, h11.EndOfMessage) else (content, b"")


@given(CHUNKS, CUTS, st.sampled_from([b"", b";name=value", b"  "]), st.sampled_from([b"", b"a: b\r\nc: d\r\n"]))
def test_chunks_are_joined_wherever_they_are_cut(
    chunks: list[bytes], cuts: list[int], extension: bytes, trailer: bytes
) -> None:
    """The content is that of the chunks, and what follows the last one is left alone, in whatever pieces it comes."""
    body = b"".join(b"%X%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    body += b"0\r\n" + trailer + b"\r\n"
    framing = ByChunks()
    assert _unwrapped(framing, _pieces(body + b"GET /", cuts)) == (b"".join(chunks), b"GET /")
    assert framing.complete
    assert _by_h11(body + b"GET /") == (b"".join(chunks), b"GET /")


@given(st.binary(max_size=60) | st.text("0123456789abcdefG;= \t\r\n", max_size=60).map(str.encode), CUTS)
def test_what_is_no_chunk_is_none_to_h11_either(data: bytes, cuts: list[int]) -> None:
    """Of any bytes at all comes the content that h11 finds, or a refusal; never more."""
    framing = ByChunks()
    expected = _by_h11(data)
    try:
        content, _ = _unwrapped(framing, _pieces(data, cuts))
    except FramingError:
        return
    if expected is not None:
        assert content == expected[0]
    else:
        assert not framing.complete


@pytest.mark.parametrize(
    "data",
    [
        b"xyz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5\n",
        b"11111111111111111\r\n",
        b"1\r\nab\r\n",
        b"5;" + b"x" * 5000,
        b"0\r\n" + b"a: b\r\n" * 5000,
    ],
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    """A size that is none, a chunk longer than its size, and lines without end are told from a body."""
    with pytest.raises(FramingError):
        _unwrapped(ByChunks(), [data])
    with pytest.raises(FramingError):
        _unwrapped(ByChunks(), [data[at : at + 1] for at in range(len(data))])


@given(st.binary(max_size=300), CUTS)
def test_a_length_is_kept(body: bytes, cuts: list[int]) -> None:
    """Of a body of known length nothing is missing, and nothing of what follows it is taken."""
    framing = ByLength(len(body))
    assert _unwrapped(framing, _pieces(body + b"GET /", cuts)) == (body, b"GET /")
    assert framing.complete


def test_the_headers_tell_which() -> None:
    """A length, chunks, chunks where both are named, and no body where neither is."""
    assert isinstance(framing_of([(b"content-length", b"5")]), ByLength)
    assert isinstance(framing_of([(b"transfer-encoding", b"chunked")]), ByChunks)
    assert isinstance(framing_of([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]), ByChunks)
    assert framing_of([(b"host", b"x")]).complete
