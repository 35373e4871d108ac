"""Whatever is sent to the server: an answer in E2B's shape, never a failure of its own, and it lives on.

Requests are made up from the routes and fields that there are, with values that do not fit; frames of E2B's streams
are cut, swapped and lengthened; and what listens inside a sandbox answers with anything.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2b import Sandbox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

# Seconds after which a request counts as hanging; E2B's streams are given half a second by their own header.
PATIENCE = 20.0
bounded = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_ODD = st.sampled_from(
    ["", "/", "~", "a\0b", "../..", "/proc/self/mem", "/dev/zero", "/proc/1/environ", "\udcff", "x" * 5000, "é\u202e"]
)
_TEXT = st.text(max_size=20) | _ODD
_SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**400])
    | st.floats()
    | _TEXT
)
_JSON = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=8
)


def _messages(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Gives objects of some of the fields, each with a value that fits or with any; at times no object at all."""
    object_ = st.fixed_dictionaries({}, optional={name: fits | _JSON for name, fits in fields.items()})
    return object_ | object_ | object_ | _JSON


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


_ANY_BODY = st.binary(max_size=200)


class _Watched:
    """The server under test, of whose answers each is looked at."""

    def __init__(self, client: httpx.Client, log: Path) -> None:
        self.client = client
        self._log = log

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request, and gives its answer if that is one that E2B's clients understand."""
        answer = self.client.request(method, path, **options)
        assert answer.status_code != 500, answer.text
        if answer.status_code >= 400 and answer.text != "missing header" and method != "HEAD":
            told = answer.json()
            assert told.get("message") or told.get("code"), told
        return answer

    def alive(self) -> None:
        """Sees that it serves, and that its log tells of no failure."""
        assert self.client.get("/e2b-magic/status").status_code == 200
        assert "Traceback" not in self._log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def watched(server: Endpoint, server_directory: Path) -> Iterator[_Watched]:
    """Gives the server, which must be alive and well at the end."""
    headers = {"X-API-Key": server.api_key}
    with httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE, trust_env=False) as client:
        one = _Watched(client, server_directory / "server.log")
        one.alive()
        yield one
        one.alive()


@pytest.fixture(scope="module")
def target(options: dict[str, Any]) -> Iterator[Sandbox]:
    """Gives a sandbox that may be spoilt."""
    with Sandbox.create(**options) as sandbox:
        yield sandbox


def _envd(sandbox: Sandbox) -> dict[str, str]:
    token = str(sandbox._envd_access_token)
    return {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983", "X-Access-Token": token}


_TIMES = st.integers(1, 60)
_CREATION = _messages(
    {
        "templateID": st.just("base"),
        "timeout": _TIMES,
        "metadata": st.dictionaries(_TEXT, _TEXT, max_size=2),
        "envVars": st.dictionaries(_TEXT, _TEXT, max_size=2),
        "secure": st.booleans(),
        "autoPause": st.booleans(),
        "allow_internet_access": st.booleans(),
        "network": st.fixed_dictionaries({"allowOut": st.lists(_TEXT, max_size=2), "maskRequestHost": _TEXT}),
    }
)
_CHANGE = _messages({"timeout": _TIMES, "duration": _TIMES, "count": st.integers(0, 2), "memory": st.booleans()})
_ROUTES = [
    *("/sandboxes", "/v2/sandboxes", "/sandboxes/{}", "/sandboxes/{}/connect", "/v2/sandboxes/{}/connect"),
    *("/sandboxes/{}/timeout", "/sandboxes/{}/refreshes", "/sandboxes/{}/metrics", "/sandboxes/{}/logs"),
    *(
        "/sandboxes/{}/network",
        "/snapshots",
        "/templates/aliases/{}",
        "/templates/{}",
        "/sandboxes/metrics",
        "/{}",
        "/",
    ),
]
_QUERY = st.dictionaries(
    st.sampled_from(["state", "limit", "nextToken", "order", "metadata", "startedAfter", "template", "start", "end"]),
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "replace").decode()) | st.integers().map(str),
    max_size=3,
)
_SEGMENT = st.text(max_size=12).filter(lambda text: text.isprintable())


@bounded
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"]),
    route=st.sampled_from(_ROUTES),
    segment=_SEGMENT,
    query=_QUERY,
    body=st.one_of(_CREATION.map(_encoded), _CHANGE.map(_encoded), _ANY_BODY),
)
def test_the_control_routes(
    method: str, route: str, segment: str, query: dict[str, str], body: bytes, watched: _Watched
) -> None:
    """No method, id, parameter or body makes a control route fail, or leaves a sandbox nobody knows of."""
    answer = watched.ask(method, route.format(segment), params=query, content=body)
    if answer.status_code == 201:
        watched.ask("DELETE", f"/sandboxes/{answer.json()['sandboxID']}")


@settings(bounded, max_examples=60)
@given(route=st.sampled_from([route for route in _ROUTES if "{}/" in route]), body=_CHANGE, put=st.booleans())
def test_the_routes_of_a_living_sandbox(
    route: str, body: Any, put: bool, own_sandbox: Sandbox, watched: _Watched
) -> None:
    """A body that does not fit is refused for a sandbox that is there; one that fits may end it."""
    watched.ask("PUT" if put else "POST", route.format(own_sandbox.sandbox_id), content=_encoded(body))


_PATHS = _TEXT.map(lambda text: text.encode("utf-8", "replace").decode())


@bounded
@given(
    method=st.sampled_from(["GET", "POST"]),
    query=st.dictionaries(
        st.sampled_from(["path", "username", "signature", "signature_expiration"]), _PATHS, max_size=3
    ),
    headers=st.dictionaries(
        st.sampled_from(
            ["range", "content-type", "content-encoding", "accept-encoding", "x-metadata-a", "x-metadata-"]
        ),
        st.sampled_from(["multipart/form-data; boundary=b", "application/octet-stream", "gzip", "bytes=1-", "bytes=-0"])
        | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip),
        max_size=4,
    ),
    body=_ANY_BODY
    | st.lists(
        st.sampled_from(
            [b"--b", b"\r\n", b"Content-Disposition: form-data; name=file; filename=x", b"\r\n\r\n", b"--b--", b"data"]
        ),
        max_size=12,
    ).map(b"".join),
    authorized=st.booleans(),
)
def test_files(
    method: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    authorized: bool,
    target: Sandbox,
    watched: _Watched,
) -> None:
    """No path, header or body makes an upload or a download fail otherwise than with a reason."""
    own = _envd(target)
    if not authorized:
        del own["X-Access-Token"]
    watched.ask(method, "/files", params=query, headers={**own, **headers}, content=body if method == "POST" else None)


_SELECTOR = _messages({"pid": st.integers(0, 2**32), "tag": _TEXT})
_PROCESS = _messages(
    {
        "cmd": st.sampled_from(["true", "cat", "/bin/bash", ""]),
        "args": st.lists(_TEXT, max_size=2),
        "envs": st.dictionaries(_TEXT, _TEXT, max_size=2),
        "cwd": _TEXT,
    }
)
_SIZE = _messages({"cols": st.integers(0, 2**33), "rows": st.integers(0, 2**33)})
_RPC = _messages(
    {
        "path": _TEXT,
        "source": _TEXT,
        "destination": _TEXT,
        "depth": st.integers(0, 5),
        "recursive": st.booleans(),
        "includeEntry": st.booleans(),
        "watcherId": _TEXT,
        "process": _SELECTOR | _PROCESS,
        "pty": _messages({"size": _SIZE}),
        "tag": _TEXT,
        "stdin": st.booleans(),
        "input": _messages({"stdin": st.just("eA=="), "pty": st.just("eA==")}),
        "signal": st.sampled_from(["SIGNAL_SIGTERM", "SIGNAL_SIGKILL", 15, 0, 99]),
        "start": _messages({"process": _SELECTOR}),
        "data": _messages({"input": _messages({"stdin": st.just("eA==")})}),
    }
)
_UNARY = [
    *("filesystem.Filesystem/Stat", "filesystem.Filesystem/MakeDir", "filesystem.Filesystem/Move"),
    *("filesystem.Filesystem/ListDir", "filesystem.Filesystem/Remove", "filesystem.Filesystem/CreateWatcher"),
    *("filesystem.Filesystem/GetWatcherEvents", "filesystem.Filesystem/RemoveWatcher", "process.Process/List"),
    *("process.Process/Update", "process.Process/SendInput", "process.Process/SendSignal"),
    *("process.Process/CloseStdin", "process.Process/None", "none.None/Stat"),
]
_STREAMS = [
    *("process.Process/Start", "process.Process/Connect", "process.Process/StreamInput"),
    "filesystem.Filesystem/WatchDir",
]
_SHORT = {"Connect-Timeout-Ms": "500"}


@bounded
@given(
    path=st.sampled_from(_UNARY),
    kind=st.sampled_from(["application/json", "application/proto", "text/plain", ""]),
    user=st.sampled_from(["", "Basic dXNlcjo=", "Basic cm9vdDo=", "Basic !", "Bearer x"]),
    body=st.one_of(_RPC.map(_encoded), _RPC.map(_encoded), _ANY_BODY),
)
def test_calls(path: str, kind: str, user: str, body: bytes, target: Sandbox, watched: _Watched) -> None:
    """No message makes a call of E2B's services fail otherwise than with a code; `internal` is the server's fault."""
    headers = {**_envd(target), **_SHORT, "Content-Type": kind, "Authorization": user}
    answer = watched.client.post(f"/{path}", headers={k: v for k, v in headers.items() if v}, content=body)
    if answer.status_code == 500:
        # Of what was asked of the sandbox, not of the server: E2B's word for a full disk and the like.
        assert answer.json()["code"] == "internal"
        assert "failed" not in answer.json().get("message", "")
    assert answer.status_code < 500 or answer.headers["content-type"].startswith("application/json")


def _frame(flags: int, payload: bytes, length: int | None) -> bytes:
    return bytes([flags]) + (len(payload) if length is None else length).to_bytes(4, "big") + payload


_FRAME = st.builds(
    _frame,
    st.sampled_from([0, 0, 0, 1, 2, 3, 0x80, 0xFF]),
    st.one_of(_RPC.map(_encoded), _RPC.map(_encoded), _ANY_BODY),
    st.none() | st.none() | st.sampled_from([0, 1, 2**16, 2**31, 2**32 - 1]),
)
_FRAMES = st.lists(_FRAME, max_size=4).map(b"".join)


def _end(content: bytes) -> dict[str, Any]:
    """Gives what the last frame of an answer says, which must be made of whole frames and have one end."""
    ends = []
    while content:
        flags, length = content[0], int.from_bytes(content[1:5], "big")
        assert len(content) >= 5 + length
        if flags & 2:
            ends.append(json.loads(content[5 : 5 + length]))
        content = content[5 + length :]
    assert len(ends) == 1
    return dict(ends[0])


@bounded
@given(path=st.sampled_from(_STREAMS), body=_FRAMES, cut=st.integers(0, 400), pieces=st.integers(1, 7))
def test_frames(path: str, body: bytes, cut: int, pieces: int, target: Sandbox, watched: _Watched) -> None:
    """Frames that are cut, too long, of no kind or in no order end their stream with one last frame, and in time."""
    sent = body[: len(body) - cut] if cut < len(body) else body
    size = -(-len(sent) // pieces) or 1
    chunks = [sent[start : start + size] for start in range(0, len(sent), size)]
    headers = {**_envd(target), **_SHORT, "Content-Type": "application/connect+json"}
    answer = watched.client.post(f"/{path}", headers=headers, content=iter(chunks))
    assert answer.status_code == 200, answer.text
    # What nobody foresaw would be told as `unknown`.
    assert _end(answer.content).get("error", {}).get("code") != "unknown"


@settings(bounded, max_examples=40)
@given(path=st.sampled_from(_STREAMS), body=_FRAMES, cut=st.integers(1, 100))
def test_clients_that_break_off(path: str, body: bytes, cut: int, target: Sandbox, server: Endpoint) -> None:
    """A client that leaves within a frame, or within a chunk, is no matter."""
    lines = [f"POST /{path} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"]
    headers = {**_envd(target), **_SHORT, "Content-Type": "application/connect+json"}
    head = "\r\n".join(lines + [f"{name}: {value}" for name, value in headers.items()]).encode() + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall((head + b"%x\r\n%s" % (len(body) + 5, body))[:-cut])


_HEAD = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n", b"HTTP/1.0 204 No\r\n"),
        *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 999 Odd\r\n", b"HTTP/1.1 304 Same\r\n", b"HTTP/9.9 200 OK\r\n"),
        *(b"Content-Length: 3\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"Set-Cookie: a\r\n"),
        *(b"Transfer-Encoding: gzip\r\n", b"Bad Header: x\r\n", b"X: \x00\r\n", b"Connection: close, x\r\n", b"\r\n"),
        *(b"3\r\nabc\r\n", b"ffffffffffffffffffff\r\n", b"0\r\n\r\n", b"abc", b"0\r\nTrailer: x\r\n\r\n"),
    ]
)
_REPEATER = """
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.wfile.write(self.rfile.read(length))
socketserver.ThreadingTCPServer(("127.0.0.1", 7000), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def repeater(options: dict[str, Any]) -> Iterator[Sandbox]:
    """Gives a sandbox in which port 7000 answers with the very bytes of the request's body, and then hangs up."""
    with Sandbox.create(**options) as sandbox:
        sandbox.files.write("repeater.py", _REPEATER)
        sandbox.commands.run("python3 repeater.py", background=True, timeout=0)
        sandbox.commands.run("until (: < /dev/tcp/127.0.0.1/7000) 2>&-; do sleep 0.05; done")
        yield sandbox


@bounded
@given(
    answer=st.lists(_HEAD, max_size=8).map(b"".join) | st.binary(min_size=1, max_size=100),
    upgrade=st.booleans(),
    method=st.sampled_from(["POST", "PUT", "DELETE"]),
)
def test_what_servers_inside_answer(
    answer: bytes,
    upgrade: bool,
    method: str,
    repeater: Sandbox,
    watched: _Watched,
) -> None:
    """An answer that is no HTTP is a bad gateway, or breaks off where it went wrong, and no failure of the server's."""
    headers = {"E2b-Sandbox-Id": repeater.sandbox_id, "E2b-Sandbox-Port": "7000"}
    if upgrade:
        headers |= {"Connection": "upgrade", "Upgrade": "x"}
    try:
        told = watched.client.request(method, "/", headers=headers, content=answer)
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return
    assert told.status_code != 500
    assert told.status_code in (101, 200, 204, 304) or "did not answer in HTTP" in told.text
