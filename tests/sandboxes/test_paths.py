"""Files and directories in a real sandbox moved, copied, made and found, whatever their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import FileError, RemoteFileNotFoundError, RemotePathError

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module", params=["in-process", "http"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start_jupyter: Callable[[], Any]
) -> Iterator[Client]:
    """Gives a client whose server the module's tests share, with its worker here or behind a Jupyter server."""
    directory = tmp_path_factory.mktemp("paths") / "e2b-magic"
    here = from_environment({"E2B_MAGIC_DIRECTORY": str(directory)})
    client = Client(here if request.param == "in-process" else start_jupyter().configuration(directory))
    yield client
    client.close()
    runtime.stop(directory / "embedded")


@pytest.fixture
def client(shared: Client) -> Client:
    """Gives that client, with an empty home in its sandbox."""
    shared.execute_command("find . -mindepth 1 -delete", use_cache=False)
    return shared


ODD = ["-rf", "a b", "it's", 'quo"te', "$HOME", "new\nline", "*", "ünïcode", "~", "a\\b"]


@pytest.mark.parametrize("name", ODD)
def test_any_name_moves_copies_and_is_found(client: Client, name: str) -> None:
    """Names that a shell would read as something else stay names, on the way in and on the way out."""
    path = f"/home/user/{name}"
    client.write_file(path, "text")
    assert client.copy_file(path, f"{path}.copy").path == f"{path}.copy"
    assert client.rename_file(path, f"{path}.moved").path == f"{path}.moved"
    assert {entry.name for entry in client.find_files()} == {f"{name}.copy", f"{name}.moved"}
    assert client.read_text(f"{path}.moved") == client.read_text(f"{path}.copy") == "text"


def test_into_a_directory_the_name_is_kept(client: Client) -> None:
    """As with `mv` and `cp`: what goes to a directory that is there goes into it; a new path is the new name."""
    client.write_file("a/one.txt", "1")
    client.make_directory("b")
    assert client.copy_file("a/one.txt", "b").path == "/home/user/b/one.txt"
    assert client.rename_file("a", "b").path == "/home/user/b/a"
    assert client.rename_file("b/a", "deep/er").path == "/home/user/deep/er"
    assert client.copy_file("b/one.txt", "new/").path == "/home/user/new/one.txt"


def test_a_directory_is_copied_when_asked_for(client: Client) -> None:
    """A directory is refused by itself and copied with all in it, modes and links kept."""
    client.write_file("a/run.sh", "#!/bin/sh\n", mode=0o755)
    client.execute_command("ln -s run.sh a/link")
    with pytest.raises(RemotePathError, match="recursive"):
        client.copy_file("a", "b")
    client.copy_file("a", "b", recursive=True)
    found = {entry.name: entry for entry in client.find_files("b")}
    assert found["run.sh"].permissions == "-rwxr-xr-x"
    assert found["link"].symlink_target == "run.sh"


def test_what_is_not_there_is_told(client: Client) -> None:
    """A missing source, a file in a directory's place and a full destination give their errors, in one line."""
    client.write_file("file", "")
    client.write_file("full/file/inside", "")
    for wrong in (
        lambda: client.rename_file("missing", "b"),
        lambda: client.copy_file("missing", "b"),
        lambda: client.find_files("missing"),
    ):
        with pytest.raises(RemoteFileNotFoundError):
            wrong()
    with pytest.raises(RemotePathError, match="file is a file"):
        client.make_directory("file")
    with pytest.raises(RemotePathError, match="file is a file"):
        client.find_files("file")
    with pytest.raises(FileError, match="file: mv: ") as caught:
        client.rename_file("file", "full")
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_there_is_fine(client: Client) -> None:
    """`make_directory` makes those above too, and made twice is made once."""
    assert client.make_directory("a/b/c").path == "/home/user/a/b/c"
    assert client.make_directory("a/b/c").type == "dir"


def test_a_search_is_narrowed_and_bounded(client: Client) -> None:
    """Pattern, kind, depth and limit each leave out what they should, and `more` says when the limit did."""
    client.execute_command("mkdir -p a/b; touch one.py two.txt a/three.py a/b/four.py; chmod 700 a/b")
    assert [entry.path.removeprefix("/home/user/") for entry in client.find_files(name="*.py")] == [
        "a/b/four.py",
        "a/three.py",
        "one.py",
    ]
    assert [entry.name for entry in client.find_files(kind="dir")] == ["a", "b"]
    assert {entry.name for entry in client.find_files(depth=1)} == {"a", "one.py", "two.txt"}
    some = client.find_files(limit=2)
    assert (len(some), some.more) == (2, True)
    assert client.find_files(limit=6).more is False


def test_changes_to_files_end_what_is_cached(client: Client) -> None:
    """After a move an equal command runs anew."""
    client.write_file("a", "")
    assert not client.execute_command("ls").cached
    client.rename_file("a", "b")
    assert client.execute_command("ls").stdout == "b\n"
