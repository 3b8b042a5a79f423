"""A long command that is watched, and killed when its watcher says so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.errors import Cancelled, CommandError


def test_its_output_is_seen_while_it_runs_and_returned() -> None:
    """It ends only once the watcher has answered what it printed."""
    reader, writer = os.pipe()
    program = f"import os; print('half', flush=True); os.read({reader}, 1); print('whole')"
    seen: list[bytes] = []

    def watch(stdout: bytes) -> None:
        seen.append(stdout)
        if stdout:
            os.write(writer, b"x")

    commands.hold(reader)
    try:
        argv = [sys.executable, "-c", program]
        output = commands.run_watched(argv, timeout_s=30, watch=watch)
    finally:
        commands.let_go(reader)
        os.close(reader)
        os.close(writer)
    assert b"half\n" in seen
    assert b"half\nwhole\n" == output.stdout


def test_it_is_killed_when_its_watcher_raises() -> None:
    def cancel(_stdout: bytes) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        commands.run_watched(["sleep", "60"], timeout_s=60, watch=cancel)
    assert "sleep" not in children()


def children() -> list[str]:
    pid = os.getpid()
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() for child in found]


def test_it_is_killed_when_its_time_is_over() -> None:
    with pytest.raises(CommandError, match=r"no answer within 0\.2 s"):
        commands.run_watched(["sleep", "60"], timeout_s=0.2, watch=lambda _stdout: None)
    assert "sleep" not in children()


def test_its_failure_has_code_and_words() -> None:
    program = "import sys; sys.exit('went wrong')"
    with pytest.raises(CommandError, match="exited with 1: went wrong"):
        commands.run_watched([sys.executable, "-c", program], timeout_s=30, watch=print)
    with pytest.raises(CommandError, match="not found"):
        commands.run_watched(["/no/such/program"], timeout_s=30, watch=print)
