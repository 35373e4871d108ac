"""Messages on the wire: what is written by hand is what the general way writes."""

from __future__ import annotations

import json
from typing import cast

import pytest
from connectrpc.codec import proto_json_codec
from e2b.envd.process.process_pb import ConnectResponse, StartResponse
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.embedded.sandbox.sandbox import ExitStatus
from e2b_magic.embedded.server.events import KEEPALIVE, Channel, data_event, end_event, start_event
from e2b_magic.embedded.server.messages import CODECS, output_json


@given(st.binary(max_size=1000), st.sampled_from(["stdout", "stderr", "pty"]), st.booleans())
def test_output_is_written_as_any_message_is(chunk: bytes, channel: str, later: bool) -> None:
    """A piece of output, of each channel and in both streams, has the JSON that protobuf gives it."""
    event = data_event(cast(Channel, channel), chunk)
    message = ConnectResponse(event=event) if later else StartResponse(event=event)
    written = output_json(message)
    assert written is not None
    assert json.loads(written) == json.loads(proto_json_codec().encode(message))
    assert CODECS[0].encode(message) == written
    assert CODECS[1].decode(CODECS[1].encode(message), type(message)) == message


@pytest.mark.parametrize("event", [KEEPALIVE, start_event(7), end_event(ExitStatus(3, None))])
def test_other_messages_are_left_to_protobuf(event: object) -> None:
    """What is no output is not written by hand."""
    message = StartResponse(event=event)  # type: ignore[arg-type]  # each of them is an event
    assert output_json(message) is None
    assert CODECS[0].encode(message) == proto_json_codec().encode(message)
