"""What is made of a result: lines, data, errors, HTML in which nothing of the sandbox's is markup."""

from __future__ import annotations

import json
import pickle
import sys
from typing import Any

import pytest

from e2b_magic.colours import to_html
from e2b_magic.exceptions import (
    CommandError,
    CommandFailedError,
    CommandInterruptedError,
    CommandTimeoutError,
    ConfigurationError,
    InvalidRequestError,
)
from e2b_magic.output import OutputBuffer
from e2b_magic.records import ExecutionResult


def _result(**fields: Any) -> ExecutionResult:
    known = {"id": "1", "project": "web", "command": "c", "status": "success", "exit_code": 0, "duration": 1.0}
    return ExecutionResult.from_json({**known, **fields})


def test_lines_and_data_are_read() -> None:
    """Lines, JSON and CSV come out of the output as what they are."""
    assert _result(stdout="a\nb\r\n").lines() == ["a", "b"]
    assert _result(stdout='{"a": [1]}').json() == {"a": [1]}
    rows = _result(stdout='name;size\n"a\nb";1\n').csv(delimiter=";")
    assert rows == [{"name": "a\nb", "size": "1"}]


def test_a_frame_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """With pandas CSV is a DataFrame; without it the error names the other way; what is no CSV is told in one line."""
    pandas = pytest.importorskip("pandas")
    frame = _result(stdout="name,size\na,1\nb,2\n").to_frame(index_col="name")
    assert isinstance(frame, pandas.DataFrame)
    assert frame["size"].sum() == 3
    with pytest.raises(InvalidRequestError, match="not CSV"):
        _result(stdout="").to_frame()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigurationError, match=r"install it, or use csv\(\)"):
        _result(stdout="a\n1\n").to_frame()


def test_what_is_no_json_is_told() -> None:
    """The error says where it stops being JSON, and whether the output's middle is missing."""
    with pytest.raises(InvalidRequestError, match=r"not JSON: .* column 1"):
        _result(stdout="oops").json()
    with pytest.raises(InvalidRequestError, match="its middle was left out"):
        _result(stdout="[1,", truncated=True).json()


def test_rows_are_never_missing_unnoticed() -> None:
    """A table whose middle was not kept is refused, with the way to the whole; the repr and the view tell of it too."""
    pytest.importorskip("pandas")
    buffer = OutputBuffer()
    buffer.append("number\n" + "1234567\n" * 2_000_000)
    cut = _result(stdout=buffer.text(), truncated=True)
    for read in (cut.csv, cut.to_frame):
        with pytest.raises(InvalidRequestError, match=r"Rows are missing: .* > rows.csv.*%e2b get rows.csv"):
            read()
    assert repr(cut) == "<success: exit 0, 1.00 s, web on no sandbox, output shortened>"
    assert "more of it is in .stdout, and its middle was not kept" in cut._repr_html_()
    assert _result(stdout="a\n1\n", stderr=buffer.text(), truncated=True).csv() == [{"a": "1"}]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("failed", CommandFailedError),
        ("timeout", CommandTimeoutError),
        ("interrupted", CommandInterruptedError),
        ("error", CommandError),
        ("pending", CommandError),
    ],
)
def test_a_result_is_checked(status: str, kind: type[CommandError]) -> None:
    """`check` passes a success on and raises what stands for any other end, with the result."""
    assert _result().check() == _result()
    failed = _result(status=status, exit_code=None)
    with pytest.raises(kind) as caught:
        failed.check()
    assert caught.value.result is failed


def test_an_error_says_why() -> None:
    """The error of `check` ends in the last line of standard error, without its colours and not longer than a line."""
    wrote = "Traceback:\n  …\n\x1b[1;31mValueError\x1b[0m: no such column\n\n"
    failed = _result(status="failed", exit_code=1, error="The command exited with code 1", stderr=wrote)
    with pytest.raises(CommandFailedError, match=r"^The command exited with code 1: ValueError: no such column$"):
        failed.check()
    with pytest.raises(CommandFailedError) as caught:
        _result(status="failed", exit_code=1, error="x", stderr="y" * 5000).check()
    assert len(str(caught.value)) < 250


def test_a_result_of_no_client_cannot_be_rerun() -> None:
    """Without a client the error names the way; with one, it is asked; neither JSON nor a pickle holds it."""
    with pytest.raises(InvalidRequestError, match="rerun_execution"):
        _result().rerun()
    bound = _result().bound(lambda record, envs: _result(id="2", stdout=str(envs)))
    assert bound.rerun({"A": "1"}).stdout == "{'A': '1'}"
    assert "runner" not in bound.to_json()
    assert json.dumps(bound.to_json())
    assert pickle.loads(pickle.dumps(bound)).runner is None


def test_the_html_is_folded_and_harmless() -> None:
    """The view is one line with the output folded below it; nothing that a command wrote is markup."""
    assert _result()._repr_html_().startswith("<code>success: exit 0")
    hostile = "<script>alert(1)</script>\x1b]52;c;eA==\x07\x1b[31m<b>&\x1b[0m\x1b]8;;javascript:x\x07link"
    view = _result(stdout=hostile, stderr=hostile, project="<i>")._repr_html_()
    assert view.startswith("<details><summary><code>success: exit 0")
    assert "&lt;script&gt;" in view
    for markup in ("<script", "<b>", "<i>", "javascript", "\x1b", "\x07"):
        assert markup not in view
    assert '<span style="color:#e75c58">&lt;b&gt;&amp;</span>link' in view


def test_a_long_output_makes_a_short_view() -> None:
    """Of 8 MB a notebook holds kilobytes: the beginning, the end, and where the rest is."""
    view = _result(stdout="begin" + "x" * 8_000_000 + "end")._repr_html_()
    assert len(view) < 30_000
    assert "begin" in view
    assert "end</pre><em>the whole of it is in .stdout</em>" in view


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain <&>", "plain &lt;&amp;&gt;"),
        ("\x1b[1;32mok\x1b[0m.", '<span style="color:#00a250;font-weight:bold">ok</span>.'),
        ("\x1b[91;44mx", '<span style="color:#b22b31;background-color:#208ffb">x</span>'),
        ("\x1b[38;5;196mx\x1b[39my", '<span style="color:#ff0000">x</span>y'),
        ("\x1b[38;5;1mx", '<span style="color:#e75c58">x</span>'),
        ("\x1b[38;5;240mx", '<span style="color:#585858">x</span>'),
        ("\x1b[48;2;1;2;999mx", '<span style="background-color:#0102ff">x</span>'),
        ("\x1b[3mx\x1b[23my", '<span style="font-style:italic">x</span>y'),
        ("\x1b[38mx", "x"),
        ("\x1b[999;mx", "x"),
        ("10%\r20%\r100%\nnext", "100%\nnext"),
        ("bo\b\bby\r\n", "by\n"),
        ("\x1b[2J\x1b]0;title\x07x", "x"),
    ],
)  # fmt: skip
def test_colours_become_spans(text: str, shown: str) -> None:
    """Colours, weights and what a progress bar overwrote are shown as a terminal shows them."""
    assert to_html(text) == shown
