"""How jobs stand as the client knows it, over a worker whose answers come in any order."""

from __future__ import annotations

from typing import Any

from e2b_magic.client import Client
from e2b_magic.config import EMBEDDED
from e2b_magic.records import BackgroundJob, JobState
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Emit

JOB = BackgroundJob(id="0123abcd", project="default", command="sleep 4321", sandbox_id="s1", backend=EMBEDDED)


def test_an_old_answer_does_not_bring_a_job_back(client: Client, caller: FakeCaller) -> None:
    """A list made before a job was stopped, that comes after it, leaves it stopped, and no prompt tells of it."""

    async def list_jobs(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        return {"sandbox_id": "s1", "asked": True, "jobs": [JOB.to_json()]}

    async def stop(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        return {**JOB.to_json(), "state": "stopped"}

    caller.answers |= {"list_jobs": list_jobs, "stop_job": stop}
    assert client.get_background_job(JOB.id).running
    assert client.stop_job(JOB.id).state is JobState.STOPPED
    assert client.get_background_job(JOB.id).state is JobState.STOPPED
    assert [job.state for job in client.store.jobs.of("default")] == [JobState.STOPPED]
    assert client._watch._projects() == set()
