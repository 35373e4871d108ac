"""The records' short line and their way through JSON."""

from __future__ import annotations

import json

import pytest

from e2b_magic.records import ExecutionResult, FileEntry, Project, SandboxState, Status, new_execution_id


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"status": "success", "exit_code": 0, "duration": 1.234}, "<success: exit 0, 1.23 s, web on embedded>"),
        ({"status": "failed", "exit_code": 3, "duration": 0.1}, "<failed: exit 3, 0.10 s, web on embedded>"),
        ({"status": "timeout", "duration": 5.0}, "<timeout: 5.00 s, web on embedded>"),
        (
            {"status": "success", "exit_code": 0, "cached": True, "cached_at": 90.0},
            "<success: exit 0, cached, web on embedded>",
        ),
        ({"status": "success", "cached": True, "cached_at": -100.0}, "<success: cached, web on embedded>"),
    ],
)
def test_a_result_shows_itself_in_one_line(fields: dict[str, object], line: str) -> None:
    """The repr says how it ended, how long it took or that it is cached, and where it ran; the output is not in it."""
    record = ExecutionResult.from_json(
        {
            "id": "1",
            "project": "web",
            "command": "c",
            "backend": "embedded",
            "started_at": 100.0,
            "stdout": "x",
            **fields,
        }
    )
    assert repr(record).startswith(line)


@pytest.mark.parametrize(
    "record",
    [
        ExecutionResult(id="1", project="web", command="c", env_names=("A",), status=Status.FAILED, exit_code=1),
        Project(name="web", port=80),
        FileEntry(name="a", path="/a", type="file"),
        SandboxState(project="web", backend="embedded", state="none"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_survives_json(record: ExecutionResult) -> None:
    """What is written is what is read back."""
    assert type(record).from_json(json.loads(json.dumps(record.to_json()))) == record


def test_ids_sort_by_their_time() -> None:
    """A later id is greater, and two of the same moment differ."""
    ids = [new_execution_id(now) for now in (1.0, 1.000001, 2.0, 1e9, 2e9)]
    assert ids == sorted(ids)
    assert new_execution_id(5.0) != new_execution_id(5.0)
