"""What all tests share: no key in the environment, a directory of their own, and sandboxes that may not be skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from e2b_magic.config import Configuration, from_environment

SETTINGS = ("E2B_API_KEY", "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN", "E2B_DEBUG", "E2B_MAGIC_DIRECTORY")

# A busy machine is no finding: neither a slow example nor a slow strategy says anything of the code under test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turns a skipped sandbox test into a failure where sandboxes are required, as they are in the gate."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and "sandbox" in item.keywords and os.environ.get("E2B_MAGIC_REQUIRE_SANDBOX"):
        report.outcome = "failed"
        report.longrepr = f"E2B_MAGIC_REQUIRE_SANDBOX is set and this was skipped: {report.longrepr}"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """Gives a configuration for the embedded server whose files lie in a directory of the test's own."""
    return from_environment({"E2B_MAGIC_DIRECTORY": str(tmp_path / "e2b-magic")})
