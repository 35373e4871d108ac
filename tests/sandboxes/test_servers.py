"""Dev servers in a real sandbox: started, waited for, replaced, shown, and each way in which that fails."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable

import pytest

from e2b_magic.client import Client
from e2b_magic.exceptions import InvalidRequestError, SandboxGoneError, ServerNotReadyError
from e2b_magic.records import JobState
from e2b_magic.worker.protocol import Event, Output, Progress

pytestmark = pytest.mark.sandbox
SERVE = "python3 -m http.server --bind 127.0.0.1 $PORT"


def _get(url: str) -> str:
    """Gives what a page's address answers, in the way of a browser, which knows that *.localhost is this machine."""
    host = url.split("/")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{host.rpartition(':')[2]}/", headers={"Host": host})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def test_a_server_answers_when_it_is_given(client: Client) -> None:
    """The port answers inside and outside by the time the job is given; the project knows its port and its page."""
    client.write_file("site/index.html", "<h1>It works</h1>")
    seen: list[Event] = []
    job = client.start_dev_server(f"sleep 0.3; echo hello; {SERVE}", 8123, cwd="site", on_event=seen.append)
    assert (job.running, job.port) == (True, 8123)
    assert any(isinstance(event, Progress) and "8123" in event.text for event in seen)
    assert any(isinstance(event, Output) and event.text.startswith("hello\n") for event in seen)
    inside = client.execute_command("curl -s http://127.0.0.1:8123/", use_cache=False)
    assert inside.stdout == "<h1>It works</h1>"
    project = client.get_project_info()
    assert (project.port, project.url) == (8123, job.url)
    preview = client.get_preview()
    assert (preview.url, preview.open) == (job.url, True)
    if preview.url.startswith("http"):
        assert _get(preview.url) == "<h1>It works</h1>"


def test_a_server_is_found_again_and_replaced(make: Callable[[], Client]) -> None:
    """A later kernel finds the server; to start one on the same port replaces it, and says so."""
    job = make().start_dev_server(SERVE, 8124)
    client = make()
    assert client.get_background_job("8124").id == job.id
    seen: list[Event] = []
    again = client.start_dev_server(SERVE, 8124, on_event=seen.append)
    assert Progress(f"Replacing the server on port 8124 (job {job.id})") in seen
    assert client.get_background_job(job).state is JobState.STOPPED
    again = client.start_dev_server()  # the command and the port are the project's by now
    assert client.stop_job("8124").id == again.id
    assert not client.get_preview(8124).open


def test_a_server_on_ipv6_alone_is_found(client: Client) -> None:
    """A server that listens on ::1 only, as some of Node's do, counts too."""
    job = client.start_dev_server("python3 -m http.server --bind ::1 8125", 8125)
    assert client.get_preview(8125).open
    client.stop_job(job)


def test_a_server_that_ends_says_its_last_lines(client: Client) -> None:
    """The error quotes what the server wrote last, and its exit code; no job is left running."""
    with pytest.raises(ServerNotReadyError, match=r"exited with code 7 before port 8126 .*: one \| two$"):
        client.start_dev_server("echo one; echo two; exit 7", 8126)


def test_a_server_that_does_not_answer_is_stopped(client: Client) -> None:
    """A server that listens elsewhere is stopped when its time is over, and the error asks the right question."""
    with pytest.raises(ServerNotReadyError, match=r"Port 8127 did not answer within 1 s.*does it listen on that port"):
        client.start_dev_server("echo up; sleep 4321", 8127, ready_within=1)
    assert [job for job in client.get_background_jobs() if job.port == 8127 and job.running] == []


def test_a_server_that_listens_elsewhere_is_told_where(client: Client) -> None:
    """The error names the ports that the server's own processes listen on, and nobody else's."""
    client.execute_command("setsid -f python3 -m http.server 8131 >/dev/null 2>&1", use_cache=False)
    with pytest.raises(ServerNotReadyError, match=r"so the server was stopped: it listens on port 8130 instead;"):
        client.start_dev_server("(exec python3 -m http.server --bind ::1 8130) & wait", 8132, ready_within=2)


def test_an_interrupt_ends_the_server(client: Client) -> None:
    """Ctrl-C before the port answers leaves no server, and the prompt is back soon."""

    def interrupt(event: Event) -> None:
        if isinstance(event, Output):
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.start_dev_server("echo begun; exec -a waiting sleep 4321", 8128, on_event=interrupt)
    assert time.monotonic() - began < 30  # half of what is waited for a port
    assert [job for job in client.get_background_jobs() if job.port == 8128 and job.running] == []


def test_a_foreign_listener_is_named(client: Client) -> None:
    """A port that something else has is refused rather than taken for the server's."""
    client.execute_command("setsid -f python3 -m http.server 8129 >/dev/null 2>&1", use_cache=False)
    client.execute_command("until curl -s localhost:8129 >/dev/null; do sleep 0.05; done", use_cache=False)
    with pytest.raises(InvalidRequestError, match="Port 8129 is taken by something"):
        client.start_dev_server(SERVE, 8129)


def test_slips_are_named(client: Client) -> None:
    """No port, an impossible one, a project without a sandbox: one line each."""
    with pytest.raises(InvalidRequestError, match="No port of project 'fresh' is known"):
        client.start_dev_server(SERVE, project="fresh")
    for port in (70000, -1, 49983):
        with pytest.raises(InvalidRequestError, match=f"{port} is no port for a server"):
            client.start_dev_server(SERVE, port)
    with pytest.raises(SandboxGoneError, match="has no running sandbox"):
        client.get_preview(80, "fresh")
