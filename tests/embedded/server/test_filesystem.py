"""The filesystem service: what is told of files, and what each operation does and refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b import AsyncSandbox, FileType, InvalidArgumentException, Sandbox
from e2b.envd.filesystem.filesystem_pb import EntryInfo
from e2b.exceptions import AuthenticationException, FileNotFoundException, NotFoundException

from e2b_magic.embedded.server.messages import CODECS, CheckedCodec

pytestmark = pytest.mark.sandbox


def test_a_file_is_described(sandbox: Sandbox) -> None:
    """A file's description has all that E2B tells of one."""
    sandbox.files.write("described/file.txt", "four")
    info = sandbox.files.get_info("described/file.txt")
    assert (info.name, info.path, info.type) == ("file.txt", "/home/user/described/file.txt", FileType.FILE)
    assert (info.size, info.mode, info.permissions) == (4, 0o644, "-rw-r--r--")
    assert (info.owner, info.group, info.symlink_target) == ("user", "user", None)
    assert abs(info.modified_time - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_link_is_described_by_its_target(sandbox: Sandbox) -> None:
    """Of a symbolic link the type is the target's, and the target is told resolved."""
    sandbox.commands.run("mkdir -p links/real && ln -sfn real links/link")
    info = sandbox.files.get_info("links/link")
    assert info.type == FileType.DIR
    assert info.permissions == "Lrwxrwxrwx"
    assert info.symlink_target == "/home/user/links/real"


def test_what_is_not_there_is_not_found(sandbox: Sandbox) -> None:
    """Every operation on a missing path says so, except a removal, which has nothing to do."""
    assert not sandbox.files.exists("missing")
    for operation in (sandbox.files.get_info, sandbox.files.list):
        with pytest.raises(FileNotFoundException):
            operation("missing")
    with pytest.raises(NotFoundException):
        sandbox.files.rename("missing", "other")
    sandbox.files.remove("missing")


def test_directories_are_made_once(sandbox: Sandbox) -> None:
    """A directory is made with those above it; making it again says that it was there."""
    assert sandbox.files.make_dir("made/deep")
    assert not sandbox.files.make_dir("made/deep")
    sandbox.files.write("made/file", "")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.make_dir("made/file")


def test_files_move_and_go(sandbox: Sandbox) -> None:
    """A renamed file is at its new path alone, whose directories are made; a removed tree is gone."""
    sandbox.files.write("moved/from", "content")
    assert sandbox.files.rename("moved/from", "moved/to/there").path == "/home/user/moved/to/there"
    assert sandbox.files.read("moved/to/there") == "content"
    assert not sandbox.files.exists("moved/from")
    sandbox.files.remove("moved")
    assert not sandbox.files.exists("moved")


def test_a_list_goes_as_deep_as_asked(sandbox: Sandbox) -> None:
    """Entries come in order, each directory before what is in it, to the depth that was asked for."""
    sandbox.commands.run("mkdir -p tree/b/c && touch tree/a tree/b/d tree/b/c/e")
    assert [entry.path.removeprefix("/home/user/tree/") for entry in sandbox.files.list("tree")] == ["a", "b"]
    deep = [entry.path.removeprefix("/home/user/tree/") for entry in sandbox.files.list("tree", depth=3)]
    assert deep == ["a", "b", "b/c", "b/c/e", "b/d"]
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list("tree/a")


def test_an_unknown_user_is_refused(sandbox: Sandbox) -> None:
    """A user that the sandbox does not have is named in the refusal."""
    with pytest.raises(AuthenticationException, match="invalid username: 'stranger'"):
        sandbox.files.list("/", user="stranger")


def test_a_header_that_names_nobody_is_refused(envd: httpx.Client) -> None:
    """An Authorization header that is not E2B's is refused, not taken for the default user."""
    for header in ("Bearer abc", "Basic !!!", "Basic", "Basic Og=="):
        answer = envd.post("/filesystem.Filesystem/Stat", json={"path": "/"}, headers={"Authorization": header})
        assert answer.json()["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b'{"path": 5}', 400),
        (b"[" * 100_000, 400),
        (b'{"new": ' * 100_000, 400),
        (b'{"path": "/", "new": "' + b"[{" * 100_000 + b'"}', 200),
        (b'{"path": "/", "new": [' + b"{}," * 1000 + b"{}]}", 200),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_message_that_cannot_be_read_is_refused(envd: httpx.Client, content: bytes, status: int) -> None:
    """A malformed or bottomless message is an invalid argument; a field that is not known yet is passed over."""
    headers = {"Content-Type": "application/json"}
    assert envd.post("/filesystem.Filesystem/Stat", content=content, headers=headers).status_code == status


def test_a_number_out_of_range_is_refused(envd: httpx.Client) -> None:
    """A number that its field cannot hold is an invalid argument."""
    answer = envd.post("/filesystem.Filesystem/ListDir", json={"path": "/", "depth": 5_000_000_000})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


async def test_the_async_client_sees_the_same(options: dict[str, Any]) -> None:
    """The async SDK makes, lists and removes."""
    sandbox = await AsyncSandbox.create(**options)
    await sandbox.files.make_dir("async")
    await sandbox.files.write("async/file", "content")
    assert [entry.name for entry in await sandbox.files.list("async")] == ["file"]
    await sandbox.files.remove("async")
    assert not await sandbox.files.exists("async")
    await sandbox.kill()


def test_a_name_that_is_no_text_is_told(sandbox: Sandbox) -> None:
    """Bytes that are not UTF-8 are told as U+FFFD in names and paths, and cost no other file its place."""
    make = "import os; os.makedirs(b'odd/\\xff'); open(b'odd/\\xff/a', 'w'); open('odd/b', 'w')"
    sandbox.commands.run(f'python3 -c "{make}"')
    told = {entry.path: entry.name for entry in sandbox.files.list("odd", depth=2)}
    assert told == {
        "/home/user/odd/b": "b",
        "/home/user/odd/\ufffd": "\ufffd",
        "/home/user/odd/\ufffd/a": "a",
    }


def test_a_target_that_is_no_text_is_told(sandbox: Sandbox, envd: httpx.Client) -> None:
    """What is done through a link whose target's name is no UTF-8 is answered, with U+FFFD where the bytes are."""
    make = "import os; os.mkdir(b'target-\\xff'); os.symlink(b'target-\\xff', 'to-target')"
    sandbox.commands.run(f'python3 -c "{make}"')
    assert sandbox.files.get_info("to-target").symlink_target == "/home/user/target-\ufffd"
    answer = envd.post("/files?path=to-target/file", content=b"x", headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 200
    assert sandbox.files.read("to-target/file") == "x"
    assert envd.get("/files?path=to-target/missing").status_code == 404


@pytest.mark.parametrize("codec", CODECS)
def test_an_answer_that_cannot_be_written_is_an_error(codec: CheckedCodec) -> None:
    """The client is told in Connect's words, in which nothing of the answer's own is repeated."""
    with pytest.raises(ConnectError, match="UnicodeEncodeError in a EntryInfo") as raised:
        codec.encode(EntryInfo(name="\udcff"))
    assert raised.value.code == Code.INTERNAL
