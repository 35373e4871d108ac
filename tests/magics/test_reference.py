"""The reference page says what the commands' declarations say; `python tests/magics/test_reference.py` rewrites it."""

from __future__ import annotations

from pathlib import Path

from e2b_magic.magics.help import markdown

PAGE = Path(__file__).parents[2] / "docs" / "magics.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->"


def _rewritten(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{markdown()}{END}{after}"


def test_the_reference_is_current() -> None:
    """Every command, option and example is on the page as it is declared."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == _rewritten(page), "run `python tests/magics/test_reference.py`"


if __name__ == "__main__":
    PAGE.write_text(_rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
