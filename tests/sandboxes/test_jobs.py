"""Background jobs in a real sandbox, with the worker in this process and behind a real Jupyter server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from e2b_magic.client import Client
from e2b_magic.client.job_watch import FIRST_PAUSE
from e2b_magic.exceptions import CommandFailedError, InvalidRequestError, SandboxGoneError
from e2b_magic.records import BackgroundJob, JobState
from e2b_magic.sandboxes.job_scripts import SEGMENT, SEGMENTS
from e2b_magic.worker.protocol import Event, Output

pytestmark = pytest.mark.sandbox
DEADLINE = 30
"""How long a busy machine may take to do what takes a moment, in seconds."""


def _eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(client: Client, mark: str) -> int:
    script = f"grep -la '[{mark[0]}]{mark[1:]}' /proc/[0-9]*/cmdline | wc -l"
    return int(client.execute_command(script, use_cache=False).stdout)


def test_a_job_goes_on_by_itself(client: Client) -> None:
    """Starting returns at once, while it runs; directory, variables and exit code are those that were asked for."""
    job = client.start_background(
        "echo $PWD $WHO; until [ -e go ]; do sleep 0.05; done; echo err >&2; exit 3",
        cwd="/tmp",
        envs={"WHO": "it's me"},
    )
    assert (job.state, job.env_names, job.exit_code) == (JobState.RUNNING, ("WHO",), None)
    assert [one.id for one in client.get_background_jobs() if one.running] == [job.id]
    client.execute_command("touch /tmp/go", use_cache=False)
    ended = client.wait_for_job(job)
    assert (ended.state, ended.exit_code, ended.command) == (JobState.EXITED, 3, job.command)
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.started_at
    assert client.get_log(job.id[:6]) == "/tmp it's me\nerr\n"
    assert client.get_log(job, lines=1) == "err\n"


def test_no_variable_is_written_down(client: Client) -> None:
    """A variable's value is neither in the sandbox's record of a job nor in the store."""
    job = client.start_background("true", envs={"TOKEN": "canary-7f3a"})
    client.wait_for_job(job)
    found = client.execute_command("grep -rl canary-7f3[a] ~/.e2b-magic | wc -l", use_cache=False)
    assert found.stdout == "0\n"
    assert b"canary-7f3a" not in client.store.kv.path.read_bytes()


def test_another_kernel_finds_it(make: Callable[[], Client]) -> None:
    """A job of a client that is gone is listed by the next one, whose log and end it can follow."""
    first = make()
    job = first.start_background("echo begun; until [ -e free ]; do sleep 0.05; done; echo done")
    first.close()
    second = make()
    found = next(one for one in second.get_background_jobs() if one.id == job.id)
    assert (found.running, found.pid, found.command) == (True, job.pid, job.command)
    second.execute_command("touch free", use_cache=False)
    text: list[str] = []
    ended = second.follow_log(job.id, on_event=lambda event: text.append(getattr(event, "text", "")))
    assert "".join(text) == "begun\ndone\n"
    assert ended.exit_code == 0


def test_an_interrupt_ends_the_following_alone(client: Client) -> None:
    """Ctrl-C while a log is followed, or a job waited for, leaves the job running."""
    job = client.start_background("echo begun; sleep 4321")

    def interrupt(event: Event) -> None:
        if isinstance(event, Output):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.follow_log(job, on_event=interrupt)
    assert client.wait_for_job(job, timeout=0.2).running
    assert client.stop_job(job).state is JobState.STOPPED


def test_stopping_ends_the_whole_tree(client: Client) -> None:
    """What ignores SIGTERM, has left its parent, its session or its environment ends with the job."""
    script = (
        "(trap '' TERM; exec -a left-1 sleep 321) & (setsid bash -c 'exec -a left-2 sleep 321' &)\n"
        "env -i bash -c 'trap \"\" TERM; exec -a left-3 sleep 321' & echo ready; wait"
    )
    job = client.start_background(script)
    _eventually(lambda: all(_alive(client, f"left-{number}") for number in (1, 2, 3)))
    stopped = client.stop_job(job, grace=0.3)
    assert (stopped.state, stopped.exit_code) == (JobState.STOPPED, 143)
    assert [_alive(client, f"left-{number}") for number in (1, 2, 3)] == [0, 0, 0]
    assert client.stop_job(job) == stopped


def test_a_long_log_is_bounded(client: Client) -> None:
    """Of a log longer than its bound the beginning and the end are kept, and what is missing is counted."""
    count = 3_000_000
    job = client.wait_for_job(client.start_background(f"seq {count}"))
    kept = client.execute_command(f"cat ~/.e2b-magic/jobs/{job.id}/log.* | wc -c", use_cache=False)
    assert int(kept.stdout) <= (SEGMENTS + 2) * SEGMENT
    text = client.get_log(job)
    assert text.startswith("1\n2\n")
    assert text.endswith(f"{count - 1}\n{count}\n")
    assert "bytes are no longer kept …]" in text


def test_following_misses_nothing(client: Client) -> None:
    """A log that is followed while it is written arrives whole, across the pieces that it is kept in."""
    count = 400_000  # 2.7 MB
    job = client.start_background(f"seq {count // 2}; sleep 0.3; seq {count // 2 + 1} {count}")
    text: list[str] = []
    client.follow_log(job, on_event=lambda event: text.append(getattr(event, "text", "")))
    assert "".join(text).split() == [str(number) for number in range(1, count + 1)]


def test_an_end_is_noticed(client: Client) -> None:
    """A job that ends is told of once, without anybody having asked for it; one whose end was shown is not."""
    job, seen = client.start_background("sleep 0.2; exit 5"), client.start_background("sleep 0.2")
    client.wait_for_job(seen)
    finished: list[BackgroundJob] = []

    def is_told() -> bool:
        finished.extend(client.finished_jobs())
        return bool(finished)

    _eventually(is_told)
    assert [(one.id, one.exit_code) for one in finished] == [(job.id, 5)]
    time.sleep(2 * FIRST_PAUSE)
    assert client.finished_jobs() == []


def test_jobs_of_other_users_are_seen(client: Client) -> None:
    """A job runs as the user that was asked for, and is looked after like any other."""
    job = client.wait_for_job(client.start_background("echo $USER", user="root"))
    assert (job.user, client.get_log(job)) == ("root", "root\n")


def test_slips_are_named(client: Client) -> None:
    """An unknown job, an empty command, a directory that is not there: one line each."""
    client.start_background("true")
    with pytest.raises(InvalidRequestError, match="'0123' is no job of project 'default'"):
        client.get_log("0123")
    with pytest.raises(InvalidRequestError, match="The command is empty"):
        client.start_background(" ")
    with pytest.raises(InvalidRequestError, match="a job takes 60,000"):
        client.start_background("x" * 60_001)
    with pytest.raises(InvalidRequestError, match="/nowhere"):
        client.start_background("true", cwd="/nowhere")
    with pytest.raises(InvalidRequestError, match="has no background job yet"):
        client.get_log(project="untouched")


def test_looking_makes_no_sandbox(client: Client) -> None:
    """To list the jobs of a project without a sandbox makes none."""
    assert client.get_background_jobs("never-used") == []
    assert client.get_sandbox_status("never-used").state == "none"


def test_a_paused_sandbox_is_let_sleep(client: Client) -> None:
    """To list the jobs of a paused sandbox wakes nothing and loses none; its log asks for it to be resumed."""
    job = client.start_background("sleep 4321", project="resting")
    client.pause_sandbox("resting")
    assert [one.id for one in client.get_background_jobs("resting")] == [job.id]
    with pytest.raises(InvalidRequestError, match="The sandbox of project 'resting' is paused: resume it first"):
        client.get_log(job)
    assert client.get_sandbox_status("resting").state == "paused"
    client.resume_sandbox("resting")
    # A pause that keeps the memory lets it go on; one that keeps the files alone ends it, which is told.
    assert client.get_background_job(job).state in (JobState.RUNNING, JobState.LOST)
    client.kill_sandbox("resting")


def test_a_killed_keeper_is_told(client: Client) -> None:
    """A job whose keeper was killed, so that nobody saw its end, is lost, and not taken for running."""
    job = client.start_background("sleep 4321")
    client.execute_command(f"kill -9 $(cut -d' ' -f3 ~/.e2b-magic/jobs/{job.id}/pid) {job.pid}", use_cache=False)
    _eventually(lambda: client.get_background_job(job).state is JobState.LOST)


def test_what_stands_in_the_records_is_checked(client: Client) -> None:
    """Records that the sandbox's own programs have spoilt are passed over, and hurt nothing."""
    job = client.wait_for_job(client.start_background("echo fine"))
    client.execute_command(
        f"cd ~/.e2b-magic/jobs; for n in 1 2 3 4; do cp -r {job.id} 0000000$n; done; echo '[' > 00000001/job\n"
        'echo \'{"id": "../../x"}\' > 00000002/job; head -c 100000 /dev/zero > 00000003/job; echo x > 00000004/exit\n'
        "mkdir 00000005; ln -s /dev/zero 00000005/job",
        use_cache=False,
    )
    assert [one.id for one in client.get_background_jobs() if one.id.startswith("0000000")] == []
    assert client.get_log(job) == "fine\n"


async def test_every_verb_can_be_awaited(client: Client) -> None:
    """The twins whose names begin with `a` give what the others give."""
    job = await client.astart_background("echo one; echo two")
    ended = await client.await_for_job(job)
    assert (await client.aget_background_job(job)) == ended
    assert ended in await client.aget_background_jobs()
    assert await client.aget_log(job) == "one\ntwo\n"
    text: list[str] = []
    await client.afollow_log(job, on_event=lambda event: text.append(getattr(event, "text", "")))
    assert "".join(text) == "one\ntwo\n"
    server = await client.astart_dev_server("python3 -m http.server $PORT", 8300)
    assert (await client.aget_preview(8300)).open
    assert (await client.astop_job(server)).state is JobState.STOPPED


async def test_a_cancelled_start_leaves_nothing(client: Client) -> None:
    """A start that is cancelled at any early moment leaves no process behind."""
    for delay in (0, 0.002, 0.005, 0.01, 0.02):
        task = asyncio.create_task(client.astart_background("exec -a early sleep 321"))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    # A worker elsewhere may hear of the cancellation after its caller is done.
    _eventually(lambda: _alive(client, "early") == 0)


def test_a_job_ends_with_its_sandbox(client: Client) -> None:
    """When the sandbox is killed its jobs are lost, which is told, and nothing is made anew to look for them."""
    job = client.start_background("sleep 4321", project="short")
    client.kill_sandbox("short")
    assert client.get_background_job(job).state is JobState.LOST
    with pytest.raises(SandboxGoneError, match="has ended, and its log with it"):
        client.get_log(job)
    assert client.get_sandbox_status("short").state in ("none", "gone")


def test_a_start_that_fails_says_why(client: Client) -> None:
    """A job that cannot be written down is not started, and the reason is the sandbox's own."""
    client.execute_command("mkdir -p ~/.e2b-magic && mv ~/.e2b-magic/jobs ~/kept; touch ~/.e2b-magic/jobs")
    try:
        with pytest.raises(CommandFailedError, match="The job could not be started: mkdir: "):
            client.start_background("true")
    finally:
        client.execute_command("rm ~/.e2b-magic/jobs; mv ~/kept ~/.e2b-magic/jobs", use_cache=False)
