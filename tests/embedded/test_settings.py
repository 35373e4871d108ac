"""What the server can be told, as text."""

from __future__ import annotations

import pytest

from e2b_magic.cli import main
from e2b_magic.embedded.containment.limits import MEBIBYTE, Limits
from e2b_magic.embedded.settings import SETTINGS, Settings
from e2b_magic.exceptions import ConfigurationError


def test_nothing_said_gives_the_defaults() -> None:
    """An environment that says nothing, or nothing in a variable, gives the documented defaults."""
    assert Settings.from_environment({}) == Settings(limits=Limits(), pool=1)
    assert Settings.from_environment({"E2B_MAGIC_MEMORY": ""}) == Settings()


def test_each_setting_reaches_its_limit() -> None:
    """Every variable has its flag's name and fills one limit."""
    told = Settings.from_environment(
        {
            "E2B_MAGIC_MEMORY": "512M",
            "E2B_MAGIC_CPUS": "1.5",
            "E2B_MAGIC_PROCESSES": "100",
            "E2B_MAGIC_OPEN_FILES": "200",
            "E2B_MAGIC_FILE_SIZE": "1 GiB".replace(" ", ""),
            "E2B_MAGIC_DISK": "none",
            "E2B_MAGIC_SHARED_MEMORY": "8mb",
            "E2B_MAGIC_POOL": "0",
        }
    )
    assert told.pool == 0
    assert told.limits == Limits(
        memory_bytes=512 * MEBIBYTE,
        cpus=1.5,
        processes=100,
        open_files=200,
        file_bytes=1024 * MEBIBYTE,
        disk_bytes=None,
        shared_memory_bytes=8 * MEBIBYTE,
    )
    assert told.limits.cpu_count == 2


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
@pytest.mark.parametrize("text", ["plenty", "-1", "1e999", "nan", "²", "9" * 400])
def test_what_makes_no_sense_is_named(setting: object, text: str) -> None:
    """Any other text is refused in one line that names the variable and what would be right."""
    variable = setting.variable  # type: ignore[attr-defined]  # parametrized as an object
    with pytest.raises(ConfigurationError, match=f"^{variable} must be .*at least") as raised:
        Settings.from_environment({variable: text})
    assert "\n" not in str(raised.value)


def test_too_little_to_work_with_is_refused() -> None:
    """A limit below which no sandbox starts is refused as such."""
    with pytest.raises(ConfigurationError, match="at least 32M"):
        Settings.from_environment({"E2B_MAGIC_MEMORY": "1M"})
    with pytest.raises(ConfigurationError, match="E2B_MAGIC_POOL must be a whole number, at least 0, not 'none'"):
        Settings.from_environment({"E2B_MAGIC_POOL": "none"})


def test_a_flag_is_checked_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """`serve` refuses a flag that makes no sense, and starts nothing."""
    assert main(["serve", "--memory", "plenty"]) == 1
    assert "E2B_MAGIC_MEMORY must be a size" in capsys.readouterr().err
