"""`make demo`'s program: it shows all of it, and nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytestmark = [pytest.mark.tgt, pytest.mark.slow]

DEMO = Path(__file__).parents[2] / "tools/demo.py"
# what a newcomer is told, in this order
TOLD = (
    "master image imported",
    "ready before any server",
    "attached",
    "read by the servers",
    "shared copy",
    "released",
    "scrubbed at the threshold",
    "back in stock",
    "given to globex",
    "destroyed",
    "left out",
)


@pytest.fixture
def temp() -> Iterator[Path]:
    """Where the demo makes its folder."""
    with tempfile.TemporaryDirectory(prefix="cp-") as folder:
        yield Path(folder)


def begin(temp: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DEMO)],
        env={**os.environ, "TMPDIR": str(temp), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_in(folder: Path) -> Sequence[int]:
    """The processes that have anything open in ``folder``, or were told of it."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_in(path, str(folder))]


def _is_in(process: Path, folder: str) -> bool:
    try:
        told = (process / "cmdline").read_bytes().decode(errors="replace")
        held = [_target(link) for link in (process / "fd").iterdir()]
    except OSError:
        return False  # gone meanwhile, or another user's
    return folder in told or any(path.startswith(folder) for path in held)


def _target(link: Path) -> str:
    """What a descriptor leads to; a busy process closes some while they are read."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_the_demo_shows_everything_with_figures(temp: Path) -> None:
    """With Pulumi where there is one; it ends with a summary in the order of events."""
    process = begin(temp)
    text, _ = process.communicate(timeout=180)
    assert 0 == process.returncode, text
    assert "Traceback" not in text
    summary = text.partition("What happened\n")[2]
    places = [summary.find(f"\n  {what} ") for what in TOLD[1:]]
    assert summary.startswith(f"  {TOLD[0]} ")
    assert -1 not in places
    assert sorted(places) == places
    assert "write protected, sense 07/2700" in summary
    assert [] == list(temp.iterdir())
    assert [] == processes_in(temp)


def test_the_demo_goes_on_without_pulumi_and_says_so(temp: Path) -> None:
    """The command line does Pulumi's part."""
    process = begin(temp, XDG_CACHE_HOME=str(temp), PATH=os.defpath)
    text, _ = process.communicate(timeout=180)
    assert 0 == process.returncode, text
    assert "driven by the clonepool command line" in text
    assert "left out" in text
    assert "there is no Pulumi command line here" in text
    assert [] == list(temp.iterdir())


@pytest.mark.parametrize("step", ["a master image", "each server reads"])
def test_an_interrupted_demo_leaves_nothing_behind(temp: Path, step: str) -> None:
    """Ctrl-C while Pulumi works, and while servers are logged in: no process, no file."""
    process = begin(temp)
    assert process.stdout is not None
    for line in process.stdout:
        if step in line:
            break
    assert processes_in(temp)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert 130 == process.returncode, text
    assert "Traceback" not in text
    assert "everything it made is gone again" in text
    assert [] == list(temp.iterdir())
    assert [] == processes_in(temp)
