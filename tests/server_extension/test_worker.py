"""The worker's routes on a real server: what comes back, what is refused and why, and what ends what runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import e2b_magic

from .conftest import run, told

pytestmark = pytest.mark.sandbox


def test_health_tells_the_version_and_the_backend(http: httpx.Client) -> None:
    """Whoever is let in learns which worker is there."""
    answer = http.get("health")
    assert answer.json() == {"status": "ok", "version": e2b_magic.__version__, "backend": "embedded"}


def test_a_request_is_answered_with_its_envelope(http: httpx.Client) -> None:
    """The plain route gives the envelope, in the words of the in-process worker."""
    envelope = http.post("worker", json=run("echo out; echo err >&2; exit 3")).json()
    assert envelope["success"]
    assert envelope["data"] == {"exit_code": 3, "stdout": "out\n", "stderr": "err\n", "truncated": False}
    assert abs(envelope["timestamp"] / 1000 - time.time()) < 60


def test_a_stream_tells_what_happens_as_it_happens(http: httpx.Client) -> None:
    """Events come as lines while the command still runs, and the envelope ends them."""
    with http.stream("POST", "worker/stream", json=run("echo one; sleep 2; echo two")) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = response.iter_lines()
        seen: list[dict[str, Any]] = []
        while not any(event.get("text") == "one\n" for event in seen):
            seen.append(json.loads(next(lines)))
        first = time.monotonic()
        seen += [json.loads(line) for line in lines]
    assert time.monotonic() - first > 1
    assert [event["event"] for event in seen] == ["attached", "output", "output", "end"]
    assert seen[-1]["envelope"]["data"]["stdout"] == "one\ntwo\n"


def test_a_request_id_must_be_one(http: httpx.Client) -> None:
    """The id by which a request is cancelled holds what a path may hold."""
    answer = http.post("worker/stream", json=run("true"), headers={"E2B-Magic-Request": "../x"})
    assert answer.status_code == 400
    assert "a-z, 0-9" in answer.json()["error"]


def _chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield b" " * 65536


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_too_large_is_a_413_and_not_held(http: httpx.Client, server: Any, announced: bool) -> None:
    """100 MB are refused, whether their length was announced or not, and the server does not keep them in memory."""
    before = _peak_memory(server)
    size = 100 * 1024 * 1024
    headers = {"Content-Length": str(size)} if announced else {}
    answer = http.post("worker", content=_chunks(size), headers=headers)
    assert answer.status_code == 413
    assert "at most 33,554,432 bytes (E2BMagicApp.max_request_bytes)" in answer.json()["error"]
    assert answer.json()["code"] == "request_too_large"
    assert _peak_memory(server) - before < 60 * 1024


def _peak_memory(server: Any) -> int:
    with open(f"/proc/{server.process.pid}/status") as lines:  # noqa: PTH123  a file of the kernel's
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _alive(http: httpx.Client, mark: str) -> int:
    script = f"grep -la '[{mark[0]}]{mark[1:]}' /proc/[0-9]*/cmdline | wc -l"
    return int(http.post("worker", json=run(script)).json()["data"]["stdout"])


def _until(http: httpx.Client, mark: str, *, running: bool) -> None:
    deadline = time.monotonic() + 20
    while bool(_alive(http, mark)) != running:
        assert time.monotonic() < deadline


def test_leaving_ends_what_runs(http: httpx.Client) -> None:
    """A client that closes its connection takes the command and its children with it."""
    with http.stream("POST", "worker/stream", json=run("(exec -a leaver-2 sleep 321) & echo on; wait")) as response:
        lines = response.iter_lines()
        while "on" not in json.loads(next(lines)).get("text", ""):
            pass
        _until(http, "leaver-2", running=True)
    _until(http, "leaver-2", running=False)


def test_a_request_is_cancelled_by_its_id(http: httpx.Client) -> None:
    """DELETE ends the command; the stream tells its last words and that it was interrupted."""
    command = "trap 'echo bye; exit' INT; echo on; (exec -a canceller sleep 321) & while true; do sleep 0.05; done"
    headers = {"E2B-Magic-Request": "one-to-cancel"}
    with http.stream("POST", "worker/stream", json=run(command), headers=headers) as response:
        lines = response.iter_lines()
        while "on" not in json.loads(next(lines)).get("text", ""):
            pass
        assert http.delete("worker/stream/one-to-cancel").status_code == 204
        rest = [json.loads(line) for line in lines]
    assert rest[0]["text"] == "bye\n"
    assert rest[-1]["envelope"]["code"] == "command_interrupted"
    assert _alive(http, "canceller") == 0
    assert http.delete("worker/stream/one-to-cancel").status_code == 404


def _waits(http: httpx.Client, load: Callable[[int], object]) -> tuple[list[Any], float]:
    """Puts a load of fifty on the server; gives what each of it gives, and the longest wait for a route meanwhile."""
    base = str(http.base_url).removesuffix("e2b-magic/")
    with ThreadPoolExecutor(50) as pool:
        loads = [pool.submit(load, number) for number in range(50)]
        longest = 0.0
        while not all(one.done() for one in loads):
            for route in ("api/status", "e2b-magic/health"):
                began = time.monotonic()
                assert http.get(f"{base}{route}").status_code == 200
                longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
    return [one.result() for one in loads], longest


def test_fifty_streams_at_once_are_not_mixed(http: httpx.Client) -> None:
    """Each of fifty gets its own lines; other routes take at most 100 ms longer than beside as many bare requests."""

    def stream(number: int) -> list[dict[str, Any]]:
        command = f"for i in 1 2 3 4 5; do echo {number}-$i; sleep 0.2; done"
        with http.stream("POST", "worker/stream", json=run(command)) as response:
            return told(response)

    def bare(number: int) -> None:
        for _ in range(5):
            http.get(f"{str(http.base_url).removesuffix('e2b-magic/')}api")
            time.sleep(0.2)

    http.post("worker", json=run("true"))
    longest: list[float] = []
    # Again where the machine was needed elsewhere for a moment; what the server itself waits for is there every time.
    while not longest or (longest[-1] >= 0 and len(longest) < 3):
        _, peer = _waits(http, bare)
        streams, waited = _waits(http, stream)
        longest.append(waited - peer - 0.1)
        for number, events in enumerate(streams):
            text = "".join(event.get("text", "") for event in events)
            assert text.split() == [f"{number}-{i}" for i in range(1, 6)]
            assert events[-1]["envelope"]["data"]["stdout"] == text
    assert longest[-1] < 0, longest


def test_the_log_has_a_line_for_each_request(http: httpx.Client, server: Any) -> None:
    """Who, what, where, how it ended and how long it took; neither the command nor a variable's value."""
    http.post(
        "worker", json=run("echo quiet-words", envs={"NAME": "hush-hush"}, project_id="audited", execution="in-history")
    )
    http.post("worker", json={"type": "kill_sandbox", "project_id": "audited"})
    lines = [json.loads(line.split("e2b-magic request ")[1]) for line in server.log.splitlines() if "audited" in line]
    assert [(line["type"], line["outcome"]) for line in lines] == [
        ("execute_command", "success"),
        ("kill_sandbox", "success"),
    ]
    assert lines[0].keys() == {"user", "type", "project", "request", "execution", "outcome", "seconds"}
    assert [line["execution"] for line in lines] == ["in-history", ""]
    assert "quiet-words" not in server.log
    assert "hush-hush" not in server.log
