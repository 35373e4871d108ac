"""An execution's record and the cache, seen through the client's verbs."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.client.session import own_session
from e2b_magic.config import EMBEDDED, Configuration
from e2b_magic.exceptions import (
    CommandInterruptedError,
    CommandTimeoutError,
    ConfigurationError,
    E2BMagicError,
    InvalidRequestError,
    SandboxGoneError,
    SandboxUnreachableError,
    StoreError,
)
from e2b_magic.records import ExecutionResult, Status, new_execution_id
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Attached, Emit, Event, Output, Progress

from .conftest import echo


def test_a_result_tells_all_of_the_run(client: Client) -> None:
    """The result holds the output, the code, the sandbox and the session, and the history holds the same."""
    result = client.execute_command("hello", cwd="/tmp", envs={"TOKEN": "hush"}, user="root")
    assert (result.status, result.stdout, result.exit_code) == (Status.SUCCESS, "hello\n", 0)
    assert (result.sandbox_id, result.backend, result.session) == ("s1", EMBEDDED, own_session())
    assert (result.cwd, result.user, result.env_names) == ("/tmp", "root", ("TOKEN",))
    assert client.get_execution(result.id) == result
    assert "hush" not in repr(client.store.execution(result.id))


def test_an_equal_command_is_answered_from_the_store(client: Client, caller: FakeCaller) -> None:
    """The second of two equal commands reaches no worker, says that it is cached and when the first one ran."""
    first = client.execute_command("hello")
    second = client.execute_command("hello")
    assert len(caller.asked) == 1
    assert (second.stdout, second.cached, second.cached_at) == ("hello\n", True, first.started_at)
    assert second.id != first.id
    assert [record.id for record in client.get_execution_history()] == [second.id, first.id]


@pytest.mark.parametrize(
    "other",
    [
        {"cwd": "/tmp"},
        {"envs": {"A": "2"}},
        {"user": "root"},
        {"template": "other"},
        {"project": "other"},
        {"use_cache": False},
        {"refresh": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_a_command_depends_on_is_part_of_the_key(
    client: Client, caller: FakeCaller, other: dict[str, Any]
) -> None:
    """A command that differs in anything its output may depend on is run, and so is one that is asked to."""
    client.execute_command("hello", envs={"A": "1"})
    assert not client.execute_command("hello", **({"envs": {"A": "1"}} | other)).cached
    assert len(caller.asked) == 2


def test_a_refreshed_result_takes_the_old_ones_place(client: Client, caller: FakeCaller) -> None:
    """After `refresh` the next equal command gets the newer result."""
    client.execute_command("hello")
    newer = client.execute_command("hello", refresh=True)
    assert client.execute_command("hello").cached_at == newer.started_at
    assert len(caller.asked) == 2


def test_a_failed_command_is_not_cached(client: Client, caller: FakeCaller) -> None:
    """Only exit code 0 is worth keeping; the failure is returned, not raised."""
    result = client.execute_command("exit 3")
    assert (result.status, result.exit_code, result.ok) == (Status.FAILED, 3, False)
    assert not client.execute_command("exit 3").cached


def test_a_write_invalidates_what_was_cached(client: Client, caller: FakeCaller) -> None:
    """A file written through the client makes older results of the project stale."""

    async def write(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        return {"name": "a", "path": "/a", "type": "file"}

    caller.answers["write_file"] = write
    client.execute_command("hello")
    client.write_file("a", "x")
    assert not client.execute_command("hello").cached


def test_a_write_meanwhile_keeps_the_result_out_of_the_cache(client: Client, caller: FakeCaller) -> None:
    """A command during which files were written is not cached: which files it saw is unknown."""

    async def slow(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        client.store.update_project("default", revision=lambda number: number + 1)
        return await echo(payload, emit)

    client.execute_command("other")
    caller.answers["execute_command"] = slow
    client.execute_command("hello")
    assert not client.execute_command("hello").cached


def test_another_sandbox_means_another_answer(client: Client, caller: FakeCaller) -> None:
    """Once the project has another sandbox, the results of the old one do not count."""

    async def elsewhere(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Attached("s2", EMBEDDED, time.time() + 3600, created=True))
        return {"exit_code": 0}

    client.execute_command("hello")
    caller.answers["execute_command"] = elsewhere
    client.execute_command("move")
    assert not client.execute_command("hello").cached


def test_an_ended_sandbox_has_no_cached_results(client: Client) -> None:
    """A result is not given any more when its sandbox's time is over."""
    client.execute_command("hello")
    client.store.update_project("default", sandbox_expires_at=time.time() - 1)
    assert not client.execute_command("hello").cached


def test_a_cached_answer_asks_no_sandbox(client: Client, caller: FakeCaller) -> None:
    """An answer names the sandbox that gave it, ended unheard or not; once that is found gone, none is given."""

    async def gone(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        raise SandboxGoneError("gone")

    first = client.execute_command("hello")
    caller.answers["execute_command"] = gone
    again = client.execute_command("hello")
    assert (again.cached, again.sandbox_id, again.cached_at) == (True, "s1", first.started_at)
    for command in ("other", "hello"):
        with pytest.raises(SandboxGoneError):
            client.execute_command(command)


def test_clearing_the_cache(client: Client) -> None:
    """`clear_cache` forgets a command's results, a project's, or all, and counts them."""
    for project in ("a", "b"):
        client.execute_command("hello", project=project)
        client.execute_command("bye", project=project)
    assert client.clear_cache("hello", "a") == 1
    assert client.clear_cache(project="a") == 1
    assert client.clear_cache() == 2
    assert not client.execute_command("hello", project="b").cached


def test_logging_out_forgets_the_cache_and_the_key(client: Client) -> None:
    """After `logout` there is no key and no cached result."""
    client.execute_command("hello")
    client.login("e2b_00ff")
    client.logout()
    assert client.configuration.api_key is None
    assert client.get_cache_info().entries == 0


def test_a_key_that_cannot_be_one_changes_nothing(client: Client) -> None:
    """A bad key at login is refused, and the client goes on as before."""
    with pytest.raises(ConfigurationError):
        client.login(" ")
    assert client.execute_command("hello").ok


def test_a_lost_sandbox_leaves_a_record(client: Client, caller: FakeCaller) -> None:
    """When the sandbox ends under a command, what it had written is kept and the error holds the record."""

    async def dies(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Output("stdout", "half"))
        raise SandboxGoneError("gone")

    caller.answers["execute_command"] = dies
    with pytest.raises(SandboxGoneError) as caught:
        client.execute_command("hello")
    result = caught.value.result
    assert result is not None
    assert (result.status, result.stdout, result.error) == (Status.ERROR, "half", "gone")
    assert client.get_execution(result.id) == result


def test_a_timeout_has_its_own_status(client: Client, caller: FakeCaller) -> None:
    """A command that ran out of time is told apart from one that failed."""

    async def slow(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        raise CommandTimeoutError("too long")

    caller.answers["execute_command"] = slow
    with pytest.raises(CommandTimeoutError) as caught:
        client.execute_command("sleep 9", timeout=1)
    assert caught.value.result is not None
    assert caught.value.result.status is Status.TIMEOUT


def test_events_arrive_in_the_calling_thread(client: Client) -> None:
    """Output is handed over where the call was made, so that it lands in the right cell."""
    seen: list[tuple[Event, threading.Thread]] = []
    client.execute_command("hello", on_event=lambda event: seen.append((event, threading.current_thread())))
    assert [event for event, _ in seen if isinstance(event, Output)] == [Output("stdout", "hello\n")]
    assert {thread for _, thread in seen} == {threading.current_thread()}


async def test_awaiting_is_the_same(client: Client) -> None:
    """`aexecute_command` gives the same record and events, in a loop that goes on meanwhile."""
    seen: list[Event] = []
    result = await client.aexecute_command("hello", on_event=seen.append)
    assert result.stdout == "hello\n"
    assert Output("stdout", "hello\n") in seen
    assert (await client.aexecute_command("hello")).cached


async def test_cancelling_the_await_ends_the_command(client: Client, caller: FakeCaller) -> None:
    """A cancelled `aexecute_command` cancels the worker and leaves an interrupted record."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def endless(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Output("stdout", "begun"))
        try:
            await asyncio.sleep(60)
        finally:
            loop.call_soon_threadsafe(ended.set)
        return {}

    caller.answers["execute_command"] = endless
    begun = asyncio.Event()
    task = asyncio.create_task(client.aexecute_command("sleep", on_event=lambda _: begun.set()))
    await asyncio.wait_for(begun.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 5)
    (record,) = client.get_execution_history()
    assert (record.status, record.stdout) == (Status.INTERRUPTED, "begun")


def test_an_interrupt_ends_the_command_and_keeps_its_output(client: Client, caller: FakeCaller) -> None:
    """Ctrl-C while a command runs cancels it, stores it as interrupted and comes back at once."""
    ended: list[str] = []

    async def endless(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Output("stdout", "begun"))
        try:
            await asyncio.sleep(60)
        finally:
            await emit(Output("stdout", " and ended"))
            ended.append("yes")
        return {}

    def interrupt(event: Event) -> None:
        if event == Output("stdout", "begun"):
            raise KeyboardInterrupt

    caller.answers["execute_command"] = endless
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.execute_command("sleep", on_event=interrupt)
    assert time.monotonic() - began < 30  # half of what it would have taken
    assert ended == ["yes"]
    (record,) = client.get_execution_history()
    assert (record.status, record.stdout) == (Status.INTERRUPTED, "begun and ended")


def test_a_flood_of_output_waits_for_its_reader(client: Client, caller: FakeCaller) -> None:
    """A worker that prints faster than the cell shows is held back, so that memory stays flat."""
    sent = 0

    async def flood(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        nonlocal sent
        for _ in range(3000):
            await emit(Output("stdout", "x"))
            sent += 1
        return {"exit_code": 0}

    lead: list[int] = []
    seen = 0

    def slow(event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen % 500 == 0:
            time.sleep(0.05)
            lead.append(sent - seen)

    caller.answers["execute_command"] = flood
    assert len(client.execute_command("yes", on_event=slow).stdout) == 3000
    assert max(lead) <= 300


def test_what_a_dead_session_left_pending_is_marked(client: Client) -> None:
    """The next session marks the executions of one that died as interrupted, and leaves those of a live one alone."""
    died, lives = (
        ExecutionResult(id=new_execution_id(), project="default", command="sleep", session=session)
        for session in (own_session().rsplit("/", 1)[0] + "/1.00", own_session())
    )
    client.store.save_execution(died)
    client.store.save_execution(lives)
    client.execute_command("hello")
    assert client.get_execution(died.id).status is Status.INTERRUPTED
    assert client.get_execution(lives.id).status is Status.PENDING


def test_a_store_that_cannot_be_written_costs_no_result(configuration: Configuration, caller: FakeCaller) -> None:
    """With a read-only store the command's result is given all the same, and "not saved" is said once."""
    client = Client(configuration, caller=caller)
    client.execute_command("first")
    client.store.kv._connection.read(lambda raw: raw.execute("PRAGMA query_only = ON"))
    said: list[Event] = []
    results = [client.execute_command(f"hello {number}", on_event=said.append) for number in range(2)]
    assert [result.stdout for result in results] == ["hello 0\n", "hello 1\n"]
    told = [event.text for event in said if isinstance(event, Progress)]
    assert len(told) == 1
    assert told[0].startswith("Not saved")
    client.close()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "a b"])
def test_a_name_that_cannot_be_a_project_is_refused(client: Client, name: str) -> None:
    """No verb takes a project name that could leave its namespace."""
    with pytest.raises(InvalidRequestError, match="cannot name a project"):
        client.use_project(name)
    if name:
        with pytest.raises(InvalidRequestError, match="cannot name a project"):
            client.execute_command("ls", project=name)


def test_an_id_is_found_by_its_end(client: Client) -> None:
    """The last letters of an id suffice while they are unambiguous; an unknown one is named."""
    result = client.execute_command("hello")
    assert client.get_execution(result.id[-6:]) == result
    with pytest.raises(InvalidRequestError, match="not in the history"):
        client.get_execution("zzzzzz")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"env": {"A": "1"}}, "There is no option 'env': did you mean envs?"),
        ({"tiemout": 1}, "did you mean timeout?"),
        ({"colour": 1}, "there are cwd, envs, project"),
        ({"timeout": "3"}, "timeout must be a number or null"),
        ({"envs": {"A": 3}}, "envs must be a mapping of strings to strings"),
        ({"envs": "A=3"}, "envs must be a mapping"),
        ({"envs": {"A": "x\0y"}}, "The value of A holds a NUL"),
        ({"timeout": 1e12}, "above 0 and at most 1,000,000"),
    ],
    ids=str,
)
def test_a_slip_in_the_options_is_named(client: Client, options: dict[str, Any], says: str) -> None:
    """An unknown option, or one that cannot be meant, is refused and nothing is run."""
    with pytest.raises(InvalidRequestError) as caught:
        client.execute_command("hello", **options)
    assert says in str(caught.value)
    assert client.get_execution_history() == []


@pytest.mark.parametrize("command", [None, ["ls"], b"ls", "", "a\0b", "\ud83d"])
def test_what_is_no_command_is_refused(client: Client, command: Any) -> None:
    """Anything but text that a shell can read is refused in one line."""
    with pytest.raises(InvalidRequestError):
        client.execute_command(command)


@pytest.mark.parametrize("error", [SandboxGoneError("gone"), SandboxUnreachableError("silent")], ids=type)
def test_a_lost_sandbox_answers_nothing_from_the_store(
    client: Client, caller: FakeCaller, error: E2BMagicError
) -> None:
    """Once the client was told that the sandbox has ended, or is silent, its cached results do not count."""

    async def dies(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        raise error

    client.execute_command("hello")
    caller.answers["execute_command"] = dies
    with pytest.raises(type(error)):
        client.execute_command("sleep")
    caller.answers["execute_command"] = echo
    assert not client.execute_command("hello").cached


def test_closing_interrupts_with_an_error_of_ours(client: Client, caller: FakeCaller) -> None:
    """Whoever waits for a command when the client logs out gets a CommandInterruptedError with its record."""
    begun = threading.Event()
    raised: list[CommandInterruptedError] = []

    async def endless(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Output("stdout", "half"))
        begun.set()
        await asyncio.sleep(60)
        return {}

    def run() -> None:
        try:
            client.execute_command("sleep")
        except CommandInterruptedError as error:
            raised.append(error)

    caller.answers["execute_command"] = endless
    waiter = threading.Thread(target=run)
    waiter.start()
    assert begun.wait(5)
    client.logout()
    waiter.join(5)
    assert [error.result.stdout for error in raised if error.result] == ["half"]


def test_a_closed_client_says_so(configuration: Configuration, caller: FakeCaller) -> None:
    """A command on a closed client is refused: its store is closed too."""
    client = Client(configuration, caller=caller)
    client.close()
    with pytest.raises(InvalidRequestError, match="closed"):
        client.execute_command("hello")


def test_the_store_is_closed_whatever_else_fails(
    configuration: Configuration, caller: FakeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that fails at the end keeps neither the store open nor the failure to itself."""

    async def fail() -> None:
        raise ConnectionError("no more")

    client = Client(configuration, caller=caller)
    client.execute_command("hello")
    monkeypatch.setattr(caller, "close", fail)
    with pytest.raises(ConnectionError, match="no more"):
        client.close()
    with pytest.raises(StoreError, match="the store is closed"):
        client.get_execution_history()


def test_secrets_are_in_no_frame(client: Client, caller: FakeCaller) -> None:
    """A traceback with locals shows neither a variable's value nor a key that was refused."""

    async def fails(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        raise SandboxGoneError("gone")

    caller.answers["execute_command"] = fails
    attempts: list[Callable[[], object]] = [
        lambda: client.execute_command("ls", envs={"T": "canary"}),
        lambda: client.execute_command("ls", cwd=3, envs={"T": "canary"}),  # type: ignore[arg-type]
        lambda: client.login("canary\u200b"),
    ]
    for attempt in attempts:
        with pytest.raises(E2BMagicError) as caught:
            attempt()
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        text = "".join(line for line in shown.format() if "test_execution" not in line)
        assert "canary" not in text


def test_a_block_closes_its_client(configuration: Configuration, caller: FakeCaller) -> None:
    """`with` and `async with` give the client, and nothing can be asked of it after them."""
    with Client(configuration, caller=caller) as client:
        assert client.execute_command("hello").stdout == "hello\n"
    with pytest.raises(InvalidRequestError, match="is closed"):
        client.execute_command("hello", use_cache=False)

    async def use() -> Client:
        async with Client(configuration, caller=caller) as client:
            assert (await client.aexecute_command("hello there")).stdout == "hello there\n"
            return client

    with pytest.raises(InvalidRequestError, match="is closed"):
        asyncio.run(use()).execute_command("hello", use_cache=False)
