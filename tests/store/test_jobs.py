"""Background jobs in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e2b_magic.records import BackgroundJob, JobState
from e2b_magic.store import Store, open_store

JOB = BackgroundJob(id="0a1b2c3d", project="web", command="make", env_names=("A",), started_at=5.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Gives a store of the test's own."""
    store = open_store(tmp_path / "store")
    yield store
    store.close()


def test_a_job_is_kept_as_it_was_last_stored(store: Store) -> None:
    """Stored again a job is replaced; another project's are told apart, also one whose name goes on."""
    store.jobs.save(JOB)
    ended = replace(JOB, state=JobState.EXITED, exit_code=0, ended_at=7.0)
    store.jobs.save(ended)
    other = replace(JOB, id="00000001", project="web2", started_at=1.0)
    store.jobs.save(other)
    assert store.jobs.of("web") == [ended]
    assert store.jobs.of() == [other, ended]


def test_what_is_no_job_is_passed_over(store: Store) -> None:
    """What another program wrote under a job's key is not given as one."""
    store.jobs.save(JOB)
    store.kv["local/job/web/ffffffff"] = b'{"id": 5}'
    store.kv["local/job/web/fffffffe"] = b"no json"
    assert store.jobs.of("web") == [JOB]
