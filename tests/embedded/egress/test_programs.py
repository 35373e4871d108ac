"""pip, npm, git and curl as they come, over https through the proxy, from a registry of the test's own on the host."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2b import Sandbox

from tests.embedded.in_process import InProcess

from .conftest import PUBLIC

pytestmark = pytest.mark.sandbox

WHEEL = "hello_sandbox-1.0-py3-none-any.whl"


def _wheel() -> bytes:
    info = "hello_sandbox-1.0.dist-info"
    files = {
        "hello_sandbox.py": "print('hello from pip')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: hello-sandbox\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def _package() -> bytes:
    files = {
        "package/package.json": json.dumps({"name": "hello-sandbox", "version": "1.0.0", "main": "index.js"}),
        "package/index.js": "console.log('hello from npm')\n",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


class Registry:
    """An https server on the host that has a package for pip, one for npm, and a git repository.

    Args:
        directory: Where its files are made.

    Attributes:
        url: Its address, by a name that the tests' gateways resolve.
        certificate: What its clients have to trust.
    """

    def __init__(self, directory: Path) -> None:
        key, certificate = directory / "key.pem", directory / "certificate.pem"
        made = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=ok.test", "-days", "2", "-nodes"]
        kind = ["-x509", "-newkey", "rsa:2048", "-addext", "subjectAltName=DNS:ok.test"]
        subprocess.run(["openssl", "req", *kind, *made], check=True, capture_output=True)
        self.certificate = certificate.read_text()
        self._files: dict[str, bytes] = {}
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = registry._files.get(self.path.partition("?")[0])
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", "application/octet-stream" if "." in self.path else "text/html")
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer((PUBLIC, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://ok.test:{self._server.server_port}"
        self._fill(directory)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _fill(self, directory: Path) -> None:
        self._files["/simple/hello-sandbox/"] = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
        self._files[f"/{WHEEL}"] = _wheel()
        package = _package()
        dist = {"tarball": f"{self.url}/hello.tgz", "shasum": hashlib.sha1(package).hexdigest()}
        version = {"name": "hello-sandbox", "version": "1.0.0", "main": "index.js", "dist": dist}
        told = {"name": "hello-sandbox", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        self._files["/hello-sandbox"] = json.dumps(told).encode()
        self._files["/hello.tgz"] = package
        repository = directory / "repository"
        git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@ok.test"]
        subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
        (repository / "file").write_text("hello from git\n")
        for command in (["add", "file"], ["commit", "--quiet", "--message", "A file"], ["update-server-info"]):
            subprocess.run([*git, *command], check=True)
        for path in (repository / ".git").rglob("*"):
            if path.is_file():
                self._files[f"/hello.git/{path.relative_to(repository / '.git')}"] = path.read_bytes()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Gives the registry."""
    if missing := [program for program in ("openssl", "git") if shutil.which(program) is None]:
        pytest.skip(f"this machine has no {missing[0]}")
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.close()


@pytest.fixture
def client(served: InProcess, registry: Registry) -> Sandbox:
    """Gives a sandbox that may reach the registry and nothing else."""
    rules: Any = {"allow_out": ["ok.test"], "deny_out": ["0.0.0.0/0"]}
    sandbox = Sandbox.create(**served.options, network=rules)
    sandbox.files.write("/home/user/ca.pem", registry.certificate)
    return sandbox


def _needs(client: Sandbox, program: str) -> None:
    if not client.commands.run(f"command -v {program} || true").stdout:
        pytest.skip(f"the host's /usr has no {program}")


def test_curl_fetches(client: Sandbox, registry: Registry) -> None:
    """Curl finds the proxy by itself, and its TLS goes through untouched."""
    told = client.commands.run(f"curl -sS --cacert ca.pem {registry.url}/hello-sandbox").stdout
    assert json.loads(told)["name"] == "hello-sandbox"


@pytest.mark.slow
def test_pip_installs(client: Sandbox, registry: Registry) -> None:
    """`pip install` from an index over https works without a word about proxies."""
    client.commands.run("python3 -m venv /tmp/venv", timeout=100)
    index = f"--index-url {registry.url}/simple --cert ca.pem"
    client.commands.run(f"/tmp/venv/bin/pip install --quiet {index} hello-sandbox", timeout=100)
    assert client.commands.run("/tmp/venv/bin/python -m hello_sandbox").stdout == "hello from pip\n"


def test_npm_installs(client: Sandbox, registry: Registry) -> None:
    """`npm install` from a registry over https works without a word about proxies."""
    _needs(client, "npm")
    options = f"--registry {registry.url} --cafile ~/ca.pem --no-audit --no-fund"
    client.commands.run(f"mkdir p && cd p && npm install {options} hello-sandbox", timeout=100)
    assert client.commands.run("cd p && node -e 'require(\"hello-sandbox\")'").stdout == "hello from npm\n"


def test_git_clones(client: Sandbox, registry: Registry) -> None:
    """`git clone` over https works without a word about proxies."""
    client.commands.run(f"git -c http.sslCAInfo=$HOME/ca.pem clone --quiet {registry.url}/hello.git", timeout=100)
    assert client.commands.run("cat hello/file").stdout == "hello from git\n"


def test_a_refusal_is_shown_to_its_user(client: Sandbox) -> None:
    """What is not allowed fails in the program's own words, with the rule in them where it shows what it was told."""
    line = "other.test is not in the sandbox's allow_out, and deny_out has 0.0.0.0/0"
    script = "import urllib.request; urllib.request.urlopen('https://other.test/')"
    assert f"403 Forbidden: {line}" in client.commands.run(f'python3 -c "{script}" 2>&1; true').stdout
    assert client.commands.run("curl -s http://other.test/").stdout == f"{line}\n"
