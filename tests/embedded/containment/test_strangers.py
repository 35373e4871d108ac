"""What opens one sandbox opens no other: ids, tokens, signatures, from outside and from inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from e2b import Sandbox

pytestmark = pytest.mark.sandbox

SERVE = "python3 -m http.server --bind 127.0.0.1 8000"


@pytest.fixture(scope="module")
def pair(options: dict[str, Any]) -> Iterator[tuple[Sandbox, Sandbox]]:
    """Gives two sandboxes with a secret each, and a server on a private port of each."""
    pair = (
        Sandbox.create(**options, network={"allow_public_traffic": False}),
        Sandbox.create(**options, network={"allow_public_traffic": False}),
    )
    for number, one in enumerate(pair):
        one.files.write("secret", f"the secret of {number}")
        one.commands.run(SERVE, background=True, timeout=0)
        one.commands.run("until (: < /dev/tcp/127.0.0.1/8000) 2>&-; do sleep 0.05; done")
    yield pair
    for one in pair:
        one.kill()


@pytest.fixture
def client(options: dict[str, Any]) -> Iterator[httpx.Client]:
    """Gives a plain HTTP client of the server's, without a key."""
    with httpx.Client(base_url=options["api_url"], trust_env=False, timeout=30) as client:
        yield client


def _envd(sandbox: Sandbox, token: str | None) -> dict[str, str]:
    own = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"}
    return own if token is None else {**own, "X-Access-Token": token}


def test_a_token_opens_its_own_sandbox_alone(
    pair: tuple[Sandbox, Sandbox], client: httpx.Client, options: dict[str, Any]
) -> None:
    """Neither another sandbox's token nor the API key opens a sandbox's services and files; its own does."""
    mine, theirs = pair
    calls = [("POST", "/process.Process/List", {}), ("POST", "/filesystem.Filesystem/Stat", {"path": "/"})]
    for method, path, body in calls:
        for token in (mine._envd_access_token, options["api_key"], None, ""):
            headers = _envd(theirs, token)
            assert client.request(method, path, headers=headers, json=body).status_code == 401
            assert client.get("/files", params={"path": "secret"}, headers=headers).status_code == 401
            told = client.post("/files", params={"path": "x"}, headers=headers, files={"file": b"x"})
            assert told.status_code == 401
        headers = _envd(theirs, theirs._envd_access_token)
        assert client.request(method, path, headers=headers, json=body).status_code == 200
    assert not theirs.files.exists("x")


def test_a_token_is_no_key(pair: tuple[Sandbox, Sandbox], client: httpx.Client, options: dict[str, Any]) -> None:
    """The tokens of sandboxes open no control route."""
    mine, theirs = pair
    for key in (mine._envd_access_token, mine.traffic_access_token, ""):
        headers = {"X-API-Key": str(key)}
        assert client.get(f"/sandboxes/{theirs.sandbox_id}", headers=headers).status_code == 401
        assert client.delete(f"/sandboxes/{theirs.sandbox_id}", headers=headers).status_code == 401
    assert client.get(f"/sandboxes/{theirs.sandbox_id}", headers={"X-API-Key": options["api_key"]}).status_code == 200


def test_a_signature_opens_its_own_sandboxs_file_alone(pair: tuple[Sandbox, Sandbox], client: httpx.Client) -> None:
    """A signed URL is for one file of one sandbox, one way; neither another path nor another sandbox takes it."""
    mine, theirs = pair
    query = {name: value for name, (value,) in parse_qs(urlsplit(mine.download_url("secret")).query).items()}
    assert client.get("/files", params=query).text == "the secret of 0"
    assert client.get("/files", params=query, headers=_envd(theirs, None)).status_code == 401
    assert client.get("/files", params={**query, "path": "/etc/passwd"}).status_code == 401
    assert client.get("/files", params={**query, "username": "root"}).status_code == 401
    assert client.post("/files", params=query, files={"file": b"x"}).status_code == 401
    assert theirs.files.read("secret") == "the secret of 1"


def test_a_traffic_token_opens_its_own_ports_alone(pair: tuple[Sandbox, Sandbox], client: httpx.Client) -> None:
    """A private port takes its own sandbox's traffic token, and neither another's nor the access token."""
    mine, theirs = pair
    address = {"E2b-Sandbox-Id": theirs.sandbox_id, "E2b-Sandbox-Port": "8000"}
    for token in (mine.traffic_access_token, theirs._envd_access_token, ""):
        told = client.get("/", headers={**address, "e2b-traffic-access-token": str(token)})
        assert told.status_code == 403
    own = {**address, "e2b-traffic-access-token": str(theirs.traffic_access_token)}
    assert client.get("/", headers=own).status_code == 200


@pytest.mark.parametrize("path", ["/etc/shadow", "/secret", "/..%2f..%2fetc/shadow"])
def test_an_id_is_an_id(path: str, pair: tuple[Sandbox, Sandbox], client: httpx.Client) -> None:
    """An id that is a path, or nearly another's, is one that is not there."""
    mine, theirs = pair
    ids = ("../" + theirs.sandbox_id, theirs.sandbox_id[:-1], theirs.sandbox_id.upper(), theirs.sandbox_id + "/../x")
    for odd in ids:
        headers = {**_envd(mine, mine._envd_access_token), "E2b-Sandbox-Id": odd}
        assert client.get(path, headers=headers).status_code == 502


def test_nobody_inside_reaches_another(pair: tuple[Sandbox, Sandbox], options: dict[str, Any]) -> None:
    """From inside, the server and with it every other sandbox is out of reach, tokens or not."""
    mine, theirs = pair
    port = urlsplit(options["api_url"]).port
    ask = (
        f"curl -s -o /dev/null -w '%{{http_code}}\\n' --max-time 20 -H 'X-Access-Token: {theirs._envd_access_token}'"
        f" -H 'E2b-Sandbox-Id: {theirs.sandbox_id}' -H 'E2b-Sandbox-Port: 49983'"
    )
    # Not by itself, and not by the proxy.
    assert mine.commands.run(f"{ask} --noproxy '*' http://127.0.0.1:{port}/health; true").stdout == "000\n"
    assert mine.commands.run(f"{ask} --noproxy '' http://127.0.0.1:{port}/health; true").stdout == "403\n"
    for host in (f"8000-{theirs.sandbox_id}.localhost", "localhost"):
        told = mine.commands.run(f"{ask} --noproxy '' http://{host}:{port}/health; true").stdout
        assert told in ("403\n", "502\n")  # some resolvers do not know the name
