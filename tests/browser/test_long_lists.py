"""Long lists in a real page: ten thousand executions, of which the page holds twenty-five at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

import pytest

from .pages import LOAD, PanelPage, open_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .conftest import Jupyter

FILL = """
import time
from dataclasses import replace
from e2b_magic.client import shared_client
from e2b_magic.records import ExecutionResult, Status, new_execution_id
began, store = time.time() - 20_000, shared_client().store
for number in range(10_000):
    at = began + number
    record = ExecutionResult(id=new_execution_id(at), project="ages", command=f"echo {number:05}", started_at=at)
    store.save_execution(replace(record, status=Status.SUCCESS))
"""


@pytest.fixture(scope="module")
def history(browser: Browser, jupyter: Jupyter) -> Iterator[PanelPage]:
    """Gives a panel whose project has a history of ten thousand executions."""
    cells = (f"{LOAD}\n%e2b use ages", FILL, "%e2b panel history")
    page = open_notebook(browser, jupyter, "lab", "ages.ipynb", *cells)
    yield PanelPage(page)
    page.close()


def _nodes(panel: PanelPage) -> int:
    count: int = panel.page.evaluate("document.querySelectorAll('*').length")
    return count


def test_a_long_history_pages_and_filters(history: PanelPage) -> None:
    """Each page and each filter is answered soon, and the page's nodes do not grow with what was looked at."""
    history.sees("1 to 25, newest first")
    history.row("echo 09999").wait_for()
    nodes, times = _nodes(history), []
    for page in range(1, 11):
        began = time.perf_counter()
        history.press("Next")
        history.sees(f"{page * 25 + 1:,} to {page * 25 + 25:,}")
        times.append(time.perf_counter() - began)
    history.row("echo 09749").wait_for()
    filtering = []
    for text, seen in (("echo 00", "echo 00999"), ("no such command", "Nothing was run"), ("00042", "echo 00042")):
        began = time.perf_counter()
        history.root.get_by_label("Filter", exact=True).fill(text)
        history.sees(seen)
        filtering.append(time.perf_counter() - began)
    slowest = max(filtering) * 1000
    print(f"a page took {median(times) * 1000:.0f} ms, the slowest filter {slowest:.0f} ms; {nodes} nodes")
    assert history.root.locator(".e2b-row:visible").count() == 1
    assert median(times) < 2
    assert slowest < 5000
    assert _nodes(history) < nodes + 100
