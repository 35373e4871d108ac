"""The control routes: what they take, what they refuse, and that the SDK understands both."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from e2b import AsyncSandbox, Sandbox, SandboxNotFoundException, SandboxQuery
from e2b.exceptions import AuthenticationException

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = pytest.mark.sandbox


def test_a_sandbox_is_created_described_and_killed(options: dict[str, Any]) -> None:
    """The SDK creates a sandbox, reads back what was asked for, and kills it once."""
    sandbox = Sandbox.create(**options, timeout=77, metadata={"project": "a/b c"})
    info = sandbox.get_info()
    assert info.template_id == "base"
    assert info.metadata == {"project": "a/b c"}
    assert 70 < (info.end_at - datetime.now(UTC)).total_seconds() <= 77
    assert sandbox.is_running()
    assert sandbox.kill()
    assert not sandbox.is_running()
    assert not sandbox.kill()
    with pytest.raises(SandboxNotFoundException):
        sandbox.get_info()


def test_a_sandbox_knows_where_it_is(options: dict[str, Any]) -> None:
    """A process finds its variables and the client's, and the client's cannot take the place of the server's."""
    with Sandbox.create(**options, envs={"OWN": "value", "E2B_SANDBOX_ID": "forged"}) as sandbox:
        told = sandbox.commands.run("echo $E2B_SANDBOX $E2B_SANDBOX_ID $E2B_TEMPLATE_ID $OWN").stdout
        assert told == f"true {sandbox.sandbox_id} base value\n"


def test_pip_installs_also_into_a_python_that_is_the_systems(own_sandbox: Sandbox) -> None:
    """What pip installs can be imported, although Debian's mark (PEP 668) forbids it outside of a sandbox."""
    if own_sandbox.commands.run("python3 -m pip --version || echo none").stdout == "none\n":
        pytest.skip("this machine's Python has no pip")
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("greeting.py", "HELLO = 'hello'\n")
        archive.writestr("greeting-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
        archive.writestr("greeting-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("greeting-1.dist-info/RECORD", "")
    own_sandbox.files.write("greeting-1-py3-none-any.whl", wheel.getvalue())
    own_sandbox.commands.run("python3 -m pip install --quiet --no-index greeting-1-py3-none-any.whl")
    assert own_sandbox.commands.run("python3 -c 'import greeting; print(greeting.HELLO)'").stdout == "hello\n"


def test_time_ends_a_sandbox(options: dict[str, Any]) -> None:
    """A sandbox whose time is over is gone."""
    sandbox = Sandbox.create(**options, timeout=1)
    time.sleep(1.5)
    assert not sandbox.is_running()


def test_time_is_set_anew_and_only_then_shortened(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """`set_timeout` counts from now in both directions; connecting extends the time and never shortens it."""

    def left() -> float:
        return (own_sandbox.get_info().end_at - datetime.now(UTC)).total_seconds()

    own_sandbox.set_timeout(1000)
    assert 990 < left() <= 1000
    Sandbox.connect(own_sandbox.sandbox_id, timeout=10, **options)
    assert left() > 980
    Sandbox.connect(own_sandbox.sandbox_id, timeout=2000, **options)
    assert 1990 < left() <= 2000
    own_sandbox.set_timeout(60)
    assert left() <= 60


def test_whoever_connects_reaches_the_same_sandbox(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """A second client of a sandbox sees the files of the first."""
    own_sandbox.files.write("note", "from the first")
    assert Sandbox.connect(own_sandbox.sandbox_id, **options).files.read("note") == "from the first"


def test_a_wrong_key_is_refused(options: dict[str, Any], server: Endpoint) -> None:
    """No control route answers without the key, and the SDK says that it is the key."""
    with pytest.raises(AuthenticationException):
        Sandbox.create(**{**options, "api_key": "e2b_" + "0" * 40})
    for path in ("/sandboxes", "/v2/sandboxes", "/e2b-magic/status", "/nowhere"):
        answer = httpx.get(server.url + path, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (401, 401)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:80", 200),
        ("api.localhost", 200),
        ("other.localhost", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:1", 421),
        ("", 421),
    ],
)
def test_only_this_machine_is_a_host(control: httpx.Client, host: str, status: int) -> None:
    """A name that a web page made resolve to 127.0.0.1 is refused, whatever else the request carries."""
    assert control.get("/e2b-magic/status", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        (b"\xff", 400, "JSON"),
        (b"[" * 100_000, 400, "JSON"),
        (b"{}", 400, "templateID"),
        (b'{"templateID": "python"}', 404, "template 'python' not found"),
        (b'{"templateID": "base", "timeout": 0}', 400, "timeout"),
        (b'{"templateID": "base", "timeout": -1}', 400, "timeout"),
        (b'{"templateID": "base", "timeout": 1e99}', 400, "timeout"),
        (b'{"templateID": "base", "timeout": NaN}', 400, "timeout"),
        (b'{"templateID": "base", "timeout": 1' + b"0" * 400 + b"}", 400, "timeout"),
        (b'{"templateID": "base", "timeout": "5"}', 400, "timeout"),
        (b'{"templateID": "base", "timeout": true}', 400, "timeout"),
        (b'{"templateID": "base", "metadata": {"a": 1}}', 400, "metadata"),
        (b'{"templateID": "base", "envVars": ["a"]}', 400, "envVars"),
        (b'{"templateID": "base", "envVars": {"a=b": "c"}}', 400, "variable"),
        (b'{"templateID": "base", "envVars": {"a": "c\\u0000"}}', 400, "variable"),
        (b'{"templateID": "base", "metadata": {"a": "\\ud800"}}', 400, "surrogate"),
        (b'{"templateID": "base", "metadata": {"\\udfff": "a"}}', 400, "surrogate"),
        (b'{"templateID": "base", "envVars": {"a": "\xed\xa0\x80"}}', 400, "surrogate"),
        (b'{"templateID": "\\ud800"}', 400, "surrogate"),
        (b'{"templateID": "base", "network": 5}', 400, "network"),
        (b'{"templateID": "base", "network": {"a": NaN}}', 400, "network"),
        (b'{"templateID": "base", "network": {"allowPublicTraffic": false}}', 400, "secure"),
        (b'{"templateID": "base", "secure": true, "network": {"allowPublicTraffic": 0}}', 400, "true or false"),
        (b'{"templateID": "base", "autoPause": "yes"}', 400, "autoPause"),
        (b'{"templateID": "base", "autoResume": true}', 400, "autoResume"),
        (b'{"templateID": "base", "autoPauseMemory": false, "autoResume": {"enabled": true}}', 400, "autoResume"),
        (b'{"templateID": "base", "volumeMounts": [{}]}', 501, "volumes"),
        (b" " * (1024 * 1024 + 1), 413, "larger"),
    ],
)
def test_what_cannot_be_created_is_said(control: httpx.Client, body: bytes, status: int, message: str) -> None:
    """Each wrong request for a sandbox gets its status and one line that names what is wrong, and makes none."""
    before = control.get("/e2b-magic/status").json()
    answer = control.post("/sandboxes", content=body)
    assert answer.status_code == status
    assert answer.json()["code"] == status
    assert message in answer.json()["message"]
    assert control.get("/e2b-magic/status").json() == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sandboxes/none", 404),
        ("DELETE", "/sandboxes/none", 404),
        ("POST", "/sandboxes/none/timeout", 404),
        ("POST", "/sandboxes/none/connect", 404),
        ("POST", "/v2/sandboxes/none/connect", 404),
        ("POST", "/sandboxes/none/refreshes", 404),
        ("POST", "/sandboxes/none/pause", 404),
        ("POST", "/sandboxes/none/resume", 404),
        ("POST", "/sandboxes/none/snapshots", 404),
        ("GET", "/sandboxes/none/logs", 404),
        ("GET", "/v2/sandboxes/none/logs", 404),
        ("DELETE", "/templates/base", 400),
        ("DELETE", "/templates/none", 404),
        ("POST", "/sandboxes/none/fork", 404),
        ("GET", "/snapshots", 200),
        ("GET", "/sandboxes/none/metrics", 404),
        ("PUT", "/sandboxes/none/network", 404),
        ("GET", "/templates/aliases/base", 200),
        ("GET", "/templates/aliases/other", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/volumes", 501),
        ("DELETE", "/volumes/none", 501),
        ("GET", "/secrets", 501),
        ("GET", "/secretsnone", 404),
        ("GET", "/teams", 501),
    ],
)
def test_each_route_answers_in_e2bs_shape(control: httpx.Client, method: str, path: str, status: int) -> None:
    """What is not there is 404, and what is not built is 501 with what is missing; neither is a traceback."""
    answer = control.request(method, path, json={} if method in ("POST", "PUT") else None)
    assert answer.status_code == status
    assert status == 200 or answer.json()["code"] == status


def test_whether_it_is_there_it_tells_anybody(server: Endpoint) -> None:
    """The control routes' own health needs no key, and is another than a sandbox's."""
    assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 204
    assert httpx.post(f"{server.url}/health", trust_env=False).status_code == 401
    gone = {"E2b-Sandbox-Id": "none", "E2b-Sandbox-Port": "49983"}
    assert httpx.get(f"{server.url}/health", headers=gone, trust_env=False).status_code == 502


def test_the_list_is_filtered_and_ordered(options: dict[str, Any], control: httpx.Client) -> None:
    """Metadata of any text, the state, the template and the time of the start choose what is listed.

    The signs between a filter's pairs may be encoded, as by the SDKs they are not.
    """
    mark = {"a&b=c": "d e%20/ü", "test": "filters"}
    older = Sandbox.create(**options, metadata=mark)
    younger = Sandbox.create(**options, metadata={**mark, "more": "1"})

    def listed(order: Any = None, **query: Any) -> list[str]:
        query = {"metadata": mark, **query}
        return [info.sandbox_id for info in Sandbox.list(SandboxQuery(**query), order=order, **options).next_items()]

    both = [younger.sandbox_id, older.sandbox_id]
    assert listed() == both
    assert listed("asc") == both[::-1]
    assert listed(metadata={**mark, "more": "1"}) == [younger.sandbox_id]
    assert listed(metadata={"a&b=c": "other"}) == []
    assert listed(template="other") == []
    pairs = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in mark.items())
    told = control.get("/v2/sandboxes", params={"metadata": quote(pairs, safe="")}).json()
    assert [one["sandboxID"] for one in told] == [younger.sandbox_id, older.sandbox_id]
    started = younger.get_info().started_at
    assert listed(started_after=started) == [younger.sandbox_id]
    assert listed(started_after=started + timedelta(seconds=1)) == []
    older.kill()
    younger.kill()


def test_the_list_comes_in_pages(options: dict[str, Any]) -> None:
    """Pages follow one another without a gap or a repetition, and the last says that it is."""
    made = [Sandbox.create(**options, metadata={"test": "pages"}) for _ in range(3)]
    pages = Sandbox.list(SandboxQuery(metadata={"test": "pages"}), limit=2, **options)
    first, second = pages.next_items(), pages.next_items()
    assert not pages.has_next
    assert [info.sandbox_id for info in [*first, *second]] == [one.sandbox_id for one in made[::-1]]
    for sandbox in made:
        sandbox.kill()


@pytest.mark.parametrize(
    "query",
    [
        "state=odd",
        "order=up",
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=" + "9" * 5000,
        "nextToken=x",
        "startedAfter=x",
        "startedAfter=0001-01-01T00:00:00",
    ],
)
def test_a_wrong_query_is_refused(control: httpx.Client, query: str) -> None:
    """Each parameter of the list is checked, and the answer names it."""
    answer = control.get(f"/v2/sandboxes?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["message"]


def test_a_repeated_creation_makes_one_sandbox(control: httpx.Client) -> None:
    """Requests with one idempotency key, even at the same moment, get one sandbox; another body is refused."""
    headers = {"Idempotency-Key": "same-key"}
    body = {"templateID": "base", "metadata": {"test": "idempotency"}}
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: control.post("/v2/sandboxes", json=body, headers=headers), range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["sandboxID"] for answer in answers}) == 1
    assert control.post("/v2/sandboxes", json={**body, "timeout": 5}, headers=headers).status_code == 409
    assert control.delete(f"/sandboxes/{answers[0].json()['sandboxID']}").status_code == 204


async def test_sandboxes_are_made_and_killed_side_by_side(options: dict[str, Any]) -> None:
    """Eight sandboxes at once through the async SDK work apart from each other, and all end."""
    sandboxes = await asyncio.gather(*[AsyncSandbox.create(**options) for _ in range(8)])
    await asyncio.gather(*[one.files.write("me", one.sandbox_id) for one in sandboxes])
    told = await asyncio.gather(*[one.commands.run("cat me") for one in sandboxes])
    assert [result.stdout for result in told] == [one.sandbox_id for one in sandboxes]
    assert all(await asyncio.gather(*[one.kill() for one in sandboxes]))
    assert not any(await asyncio.gather(*[one.is_running() for one in sandboxes]))


@pytest.mark.parametrize("missing", ["E2b-Sandbox-Id", "E2b-Sandbox-Port"])
def test_half_an_address_is_refused(envd: httpx.Client, missing: str) -> None:
    """One of the two routing headers without the other is a mistake, and is named so."""
    del envd.headers[missing]
    answer = envd.get("/health")
    assert (answer.status_code, answer.text) == (400, "missing header")


def test_another_sandboxes_token_does_not_open_this_one(own_sandbox: Sandbox, envd: httpx.Client) -> None:
    """Each sandbox takes its own token alone, for its services and its files."""
    envd.headers["X-Access-Token"] = str(own_sandbox._envd_access_token)
    assert envd.post("/process.Process/List", json={}).status_code == 401
    assert envd.get("/files", params={"path": "/etc/passwd"}).status_code == 401
    del envd.headers["X-Access-Token"]
    assert envd.post("/process.Process/List", json={}).status_code == 401
    assert envd.get("/files", params={"path": "/etc/passwd"}).status_code == 401
    assert envd.get("/health").status_code == 204


def test_a_sandbox_that_is_not_there_is_told_as_e2b_does(envd: httpx.Client) -> None:
    """The proxy's answer for an unknown sandbox has the very text that the SDKs look for."""
    envd.headers["E2b-Sandbox-Id"] = "gone"
    answer = envd.get("/health")
    assert (answer.status_code, answer.json()) == (
        502,
        {"sandboxId": "gone", "message": "The sandbox was not found", "code": 502},
    )
