"""Runs E2B's own tests of its Python SDK against the embedded server: `nox -s sdk_suite -- REPOSITORY`.

    python -m tests.sdk_suite.run REPOSITORY [PATH…] [--sdk VERSION]… [--times N]

The tests come from a clone of E2B's repository, as they are committed there; the SDK comes from the package index, in
a virtual environment for each version. A server is started for the run in a directory of its own, with
`https_front` before it, and `left_out` in pytest says what is left out. Counts are printed for each run, and the
exit code is 1 where a test failed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from e2b_magic.embedded import runtime
from tests.sdk_suite.https_front import HttpsFront
from tests.sdk_suite.left_out import LIST, PREFIX, read_list

_FOLDER = Path(__file__).parent
_SDK = "packages/python-sdk"
_NEWEST = "newest"
# What of the SDK's development dependencies its tests need, by a word in their names.
_NEEDED = ("pytest", "dotenv")


@dataclass(frozen=True)
class Suite:
    """E2B's tests.

    Attributes:
        folder: Where they and their pytest.ini lie, and nothing else: what is installed is tested.
        version: The version of the SDK that they were written for.
        requirements: What they need beside the SDK.
    """

    folder: Path
    version: str
    requirements: list[str]


def unpack(repository: Path, folder: Path) -> Suite:
    """Takes the tests out of a clone of E2B's repository, bare or not, as they are at its HEAD."""
    git = ["git", "-C", str(repository)]
    wanted = [f"{_SDK}/{name}" for name in ("tests", "pytest.ini", "pyproject.toml")]
    packed = subprocess.run([*git, "archive", "HEAD", *wanted], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    project = folder / _SDK / "pyproject.toml"
    told: dict[str, Any] = tomllib.loads(project.read_text())
    project.unlink()  # the folder would pass for the SDK's own
    requirements = [one for one in told["dependency-groups"]["dev"] if any(word in one for word in _NEEDED)]
    return Suite(folder / _SDK, told["project"]["version"], requirements)


def install(suite: Suite, version: str, folder: Path) -> Path:
    """Makes a virtual environment with a version of the SDK and what the tests need; gives its programs' folder."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    sdk = "e2b" if version == _NEWEST else f"e2b=={version}"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, sdk, *suite.requirements], check=True)
    return folder / "bin"


def environment(programs: Path, given: dict[str, str]) -> dict[str, str]:
    """Gives what the tests find in their environment: of E2B's variables those that they are given alone."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(_FOLDER), "PYTHONDONTWRITEBYTECODE": "1", **given}


def count(report: Path) -> Counter[str]:
    """Counts a run's tests by outcome, and by reason those that were left out."""
    counts: Counter[str] = Counter()
    for case in ET.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif skipped is None:
            counts["passed"] += 1
        else:
            counts[skipped.get("message", "skipped").removeprefix("Skipped: ")] += 1
    return counts


def show(version: str, run: int, counts: Counter[str]) -> None:
    """Prints a run's counts, and what was left out."""
    out = sum(number for outcome, number in counts.items() if outcome.startswith(PREFIX))
    files = [entry for entry in read_list(LIST.read_text(), version) if not entry.name]
    head = f"e2b {version}, run {run}: {counts['passed']} passed, {counts['failed']} failed, {out} left out"
    print(f"\n{head}, and {len(files)} files" if files else f"\n{head}")
    for outcome, number in counts.most_common():
        if outcome not in ("passed", "failed"):
            print(f"{number:>6}  {outcome}")
    for entry in files:
        print(f"  file  {PREFIX}{entry.reason}: {entry.file}")
    sys.stdout.flush()


async def _pytest(programs: Path, suite: Suite, given: dict[str, str], paths: list[str], report: Path) -> Counter[str]:
    options = ["-n", "4", "-p", "left_out", "-q", "--no-header", "-p", "no:cacheprovider", f"--junitxml={report}"]
    process = await asyncio.create_subprocess_exec(
        str(programs / "pytest"), *options, *paths, cwd=suite.folder, env=environment(programs, given)
    )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if code not in (0, 1):
        sys.exit(f"pytest did not run the suite to its end: exit code {code}")
    return count(report)


def _version(programs: Path) -> str:
    ask = "from importlib.metadata import version; print(version('e2b'))"
    told = subprocess.run([programs / "python", "-c", ask], check=True, capture_output=True, text=True)
    return told.stdout.strip()


async def _run(arguments: argparse.Namespace, directory: Path) -> int:
    suite = unpack(arguments.repository, directory / "suite")
    failed = 0
    endpoint = runtime.ensure(directory / "embedded")
    try:
        async with HttpsFront(endpoint.port, directory) as front:
            given = {**front.environment, "E2B_API_KEY": endpoint.api_key}
            for version in arguments.sdk or [suite.version, _NEWEST]:
                programs = install(suite, version, directory / f"sdk-{version}")
                for run in range(1, arguments.times + 1):
                    report = directory / f"report-{version}-{run}.xml"
                    counts = await _pytest(programs, suite, given, arguments.paths, report)
                    show(_version(programs), run, counts)
                    failed += counts["failed"]
    finally:
        runtime.stop(directory / "embedded")
    return failed


def main() -> int:
    """Runs the suite, and gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdk_suite.run", description=__doc__.partition("\n")[0])
    parser.add_argument("repository", type=Path, help="a clone of E2B's repository")
    parser.add_argument("paths", nargs="*", default=["tests"], help="parts of the suite, such as tests/sync (all)")
    parser.add_argument("--sdk", action="append", metavar="VERSION", help="the suite's own, and the newest")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="how often, in a row (1)")
    arguments = parser.parse_intermixed_args()  # a path may come after an option
    # As Ctrl-C does, so that the server ends whoever ends this.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="e2b-magic-suite-") as directory:
        return 1 if asyncio.run(_run(arguments, Path(directory))) else 0


if __name__ == "__main__":
    sys.exit(main())
