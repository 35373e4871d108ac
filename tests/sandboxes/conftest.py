"""Clients that come one after the other to one user's sandboxes, with the worker here or behind a Jupyter server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime


@pytest.fixture(scope="module", params=["in-process", "http"])
def make(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start_jupyter: Callable[[], Any]
) -> Iterator[Callable[[], Client]]:
    """Makes clients of one user, as so many kernels in a row would have them."""
    directory = tmp_path_factory.mktemp("sandboxes") / "e2b-magic"
    here = from_environment({"E2B_MAGIC_DIRECTORY": str(directory)})
    configuration = here if request.param == "in-process" else start_jupyter().configuration(directory)
    made: list[Client] = []

    def make() -> Client:
        made.append(Client(configuration))
        return made[-1]

    yield make
    for client in made:
        client.close()
    runtime.stop(directory / "embedded")


@pytest.fixture
def client(make: Callable[[], Client]) -> Client:
    """Gives a client of its own for each test; all share a sandbox."""
    return make()
