"""An observable command, over a worker that answers as it is told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from traitlets import dlink
from traitlets.traitlets import HasTraits, Unicode

from e2b_magic.client import Client
from e2b_magic.client.executor import SHOWN, Executor
from e2b_magic.client.transcript import Transcript
from e2b_magic.config import EMBEDDED
from e2b_magic.exceptions import CommandFailedError, CommandInterruptedError, InvalidRequestError
from e2b_magic.records import Status
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Attached, Emit, Output, Progress
from tests.interrupting import finalizers_pass_over_it, interrupted


@pytest.fixture
def executor(client: Client) -> Iterator[Executor]:
    """Gives an executor over the client that echoes."""
    executor = Executor(client)
    yield executor
    executor.unobserve_all()


def test_it_tells_how_a_command_gets_on(executor: Executor) -> None:
    """`running` rises and falls, and what was written and how it ended are there."""
    seen: list[Any] = []
    executor.observe(lambda change: seen.append(change["new"]), "running")
    executor.run("hello")
    result = executor.wait(10)
    assert result is not None
    assert (result.status, executor.result, executor.error) == (Status.SUCCESS, result, None)
    assert (executor.stdout, executor.stderr) == ("hello\n", "")
    assert executor.output == (Output("stdout", "hello\n"),)
    assert seen == [True, False]


@finalizers_pass_over_it
def test_an_interrupt_at_any_step_leaves_it_of_use(executor: Executor) -> None:
    """Wherever in a beginning or a wait a Ctrl-C comes, the command ends, and the next one runs and is told."""

    def run() -> None:
        executor.run("first", use_cache=False)
        executor.wait()

    for step in range(3000):
        came = interrupted(step, run)
        executor.wait(10)
        executor.run(f"hello {step}", use_cache=False)
        result = executor.wait(10)
        assert (result and result.stdout, executor.running) == (f"hello {step}\n", False), f"at step {step}: {came!r}"
        if came is None:
            break
    assert 50 < step < 2900


def test_a_stored_result_is_there_at_once(executor: Executor) -> None:
    """An equal command is answered from the store, with its output, without running."""
    executor.run("hello")
    executor.wait(10)
    executor.run("hello")
    assert not executor.running
    assert executor.result is not None
    assert executor.result.cached
    assert executor.output == (Output("stdout", "hello\n"),)


def test_a_failing_command_is_an_error_with_its_record(executor: Executor) -> None:
    """Another exit code than 0 is in `error`, as one line, and in `result`."""
    executor.run("exit 3")
    result = executor.wait(10)
    assert result is not None
    assert result.exit_code == 3
    assert isinstance(executor.error, CommandFailedError)
    assert str(executor.error) == "The command exited with code 3"


async def _never(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    await emit(Attached("s1", EMBEDDED, time.time() + 3600, created=False))
    await emit(Output("stdout", "begun\n"))
    await asyncio.sleep(60)
    return {}


def test_cancel_ends_the_command(executor: Executor, caller: FakeCaller) -> None:
    """`cancel` returns at once; the record is interrupted and has what was written, and the next command runs."""
    caller.answers["execute_command"] = _never
    begun, ended = threading.Event(), threading.Event()
    executor.observe(lambda change: begun.set() if "begun" in change["new"] else None, "stdout")
    executor.observe(lambda change: None if change["new"] else ended.set(), "running")
    executor.run("never")
    with pytest.raises(InvalidRequestError, match="runs here already"):
        executor.run("another")
    assert begun.wait(10)
    executor.cancel()
    assert ended.wait(10)
    assert isinstance(executor.error, CommandInterruptedError)
    assert executor.result is not None
    assert (executor.result.status, executor.result.stdout) == (Status.INTERRUPTED, "begun\n")


def test_cancelled_before_it_began_is_over_too(executor: Executor, caller: FakeCaller) -> None:
    """However soon `cancel` comes, the command ends as interrupted and the executor is free."""
    caller.answers["execute_command"] = _never
    for _ in range(20):
        executor.run("never")
        executor.cancel()
        executor.wait(10)
        assert not executor.running
        assert isinstance(executor.error, CommandInterruptedError)


def test_a_closed_client_ends_it(executor: Executor, client: Client, caller: FakeCaller) -> None:
    """Closing the client under a running command leaves an executor that runs nothing and says why."""
    caller.answers["execute_command"] = _never
    executor.run("never")
    client.close()
    assert not executor.running
    assert isinstance(executor.error, CommandInterruptedError)
    with pytest.raises(InvalidRequestError, match="closed"):
        executor.run("hello")


def test_a_slip_is_told_at_once(executor: Executor) -> None:
    """An empty command and an unknown option raise where `run` is called, and nothing runs."""
    with pytest.raises(InvalidRequestError, match="empty"):
        executor.run(" ")
    with pytest.raises(InvalidRequestError, match="did you mean"):
        executor.run("ls", cdw="/tmp")  # type: ignore[call-arg]
    assert not executor.running


def test_a_flood_is_bounded_and_gathered(executor: Executor, caller: FakeCaller) -> None:
    """A hundred thousand pieces make few changes of the traits, which keep the beginning or the end."""

    async def flood(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Attached("s1", EMBEDDED, time.time() + 3600, created=False))
        await emit(Progress("flooding"))
        for number in range(20_000):
            await emit(Output("stdout", f"line {number}\n"))
        return {"exit_code": 0}

    caller.answers["execute_command"] = flood
    changes: list[int] = []
    executor.observe(lambda change: changes.append(len(change["new"])), "stdout")
    executor.run("flood")
    result = executor.wait(60)
    assert result is not None
    assert result.stdout.count("\n") == 20_000
    assert executor.stdout.startswith("line 0\n")
    assert executor.stdout.endswith("line 19999\n")
    assert len(executor.stdout) < SHOWN + 100
    assert sum(len(piece.text) for piece in executor.output) == SHOWN
    assert executor.dropped == len(result.stdout) - SHOWN
    assert executor.progress == "flooding"
    assert len(changes) < 2000


def test_widgets_can_be_linked(executor: Executor) -> None:
    """Traitlets' own `dlink` carries the output to another object."""

    class Label(HasTraits):
        value = Unicode()

    label = Label()
    dlink((executor, "stdout"), (label, "value"))
    executor.run("hello")
    executor.wait(10)
    assert label.value == "hello\n"


def test_secrets_are_in_no_trait(executor: Executor) -> None:
    """A variable's value is in none of the executor's traits, nor in its repr."""
    executor.run("hello", envs={"TOKEN": "hush"})
    executor.wait(10)
    assert "hush" not in repr(executor)
    assert "hush" not in repr(executor.trait_values())
    assert executor.result is not None
    assert executor.result.env_names == ("TOKEN",)


def test_a_verb_called_by_an_observer_is_refused(executor: Executor, client: Client) -> None:
    """A verb that would wait on the client's own loop raises one clear line instead of waiting for ever."""
    raised: list[str] = []

    def look(change: Any) -> None:
        try:
            client.execute_command("again", use_cache=False)
        except InvalidRequestError as error:
            raised.append(str(error))

    executor.observe(look, "stdout")
    executor.run("hello")
    executor.wait(10)
    assert "aexecute_command" in raised[0]


def test_a_transcript_keeps_the_end_in_order() -> None:
    """Both streams stay in order, neighbours are joined, and what is over the limit goes from the beginning."""
    transcript = Transcript(10)
    for stream, text in (("stdout", "abc"), ("stdout", "def"), ("stderr", "!!"), ("stdout", "ghijk")):
        transcript.append("stdout" if stream == "stdout" else "stderr", text)
    assert transcript.pieces() == (Output("stdout", "def"), Output("stderr", "!!"), Output("stdout", "ghijk"))
    assert transcript.dropped == 3
