"""Requests as JSON: what is let through, and what the one line says of the rest."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.protocol import json_default
from e2b_magic.worker.requests import REQUESTS, Request
from e2b_magic.worker.requests.commands import ExecuteCommand
from e2b_magic.worker.requests.files import WriteFile
from e2b_magic.worker.requests.jobs import ReadLog, StartDevServer, StartJob
from e2b_magic.worker.requests.projects import CompareFiles, SetupProject
from e2b_magic.worker.requests.terminals import SendInput
from e2b_magic.worker.requests.transfers import SendPiece
from e2b_magic.worker.validation import parse_request

RUN = {"type": "execute_command", "project_id": "web", "command": "ls"}

EXAMPLES: list[Request] = [
    ExecuteCommand(project_id="web", command="ls", cwd="/tmp", envs={"A": "1"}, user="root", timeout=3.5),
    StartJob(project_id="web", command="make", job="0a1b2c3d"),
    StartDevServer(project_id="web", command="npm run dev", port=5173, ready_within=2.5, base="/a/b-c/"),
    ReadLog(project_id="web", job="0a1b2c3d", lines=5, follow=True),
    CompareFiles(project_id="web", path="web", checksums={"a/b": "0" * 64}),
    SetupProject(project_id="web", path="web", git="https://example.org/x", install="make", remove=["a"]),
    WriteFile(project_id="web", path="a.py", content="x", append=True, mode=0o755),
    SendPiece(project_id="web", transfer="0" * 32, content=[b"a", b"\xff\n"]),
    SendInput(project_id="web", terminal="0" * 32, content=b"ls\n"),
]


@pytest.mark.parametrize("request_", EXAMPLES, ids=lambda request: request.type)
def test_a_request_survives_its_way_through_json(request_: Request) -> None:
    """What a client writes is what a worker reads."""
    assert parse_request(json.loads(json.dumps(request_.to_json(), default=json_default))) == request_


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"type": "run"}, "Unknown request type 'run': use one of "),
        ({"type": ["execute_command"]}, "Unknown request type"),
        ({"project_id": "../etc"}, "'../etc' cannot name a project"),
        ({"project_id": ""}, "cannot name a project"),
        ({"project_id": ".hidden"}, "cannot name a project"),
        ({"project_id": "a" * 65}, "cannot name a project"),
        ({"command": " \n"}, "The command is empty"),
        ({"command": "a\0b"}, "NUL"),
        ({"command": 7}, "command must be a string"),
        ({"timeout": "7"}, "timeout must be a number or null"),
        ({"timeout": True}, "timeout must be a number or null"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": float("nan")}, "above 0"),
        ({"envs": {"A": 1}}, "envs must be a mapping of strings to strings"),
        ({"colour": "red"}, "does not take colour: it takes project_id"),
    ],
)
def test_a_slip_is_named(change: dict[str, Any], says: str) -> None:
    """Each slip gives one line that names it."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(RUN | change)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("payload", [None, 3, "x", [], [RUN]])
def test_only_an_object_is_a_request(payload: object) -> None:
    """A scalar or an array is refused."""
    with pytest.raises(InvalidRequestError, match="JSON object"):
        parse_request(payload)


def test_missing_fields_are_named() -> None:
    """A request without what it needs says what that is."""
    with pytest.raises(InvalidRequestError, match="write_file needs content, path"):
        parse_request({"type": "write_file", "project_id": "web"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["type", "project_id", "command", "path", "content", "envs", "timeout", "mode", "port"])


@given(st.dictionaries(NAMES, JSON | st.sampled_from([*REQUESTS, "web"])))
def test_no_json_upsets_it(payload: dict[str, Any]) -> None:
    """Whatever JSON comes, the answer is a request or an InvalidRequestError."""
    with contextlib.suppress(InvalidRequestError):
        assert isinstance(parse_request(payload), Request)


def test_env_values_stay_out_of_the_repr() -> None:
    """A request printed in a log or a traceback shows no value of a variable, and no file's content."""
    assert "hush" not in repr(ExecuteCommand(project_id="a", command="ls", envs={"TOKEN": "hush"}))
    assert "hush" not in repr(WriteFile(project_id="a", path="x", content="hush"))
