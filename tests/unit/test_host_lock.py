"""One engine a state folder, as long as anything of it still runs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clonepool.errors import FailedPrecondition
from clonepool.host_lock import HostLock

TIMEOUT_S = 20


def test_a_second_engine_is_refused_by_the_first_ones_pid(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    first = HostLock(path)
    first.acquire(wait_s=0)
    with pytest.raises(FailedPrecondition, match=rf"pid {os.getpid()}\).*--state-dir") as refused:
        HostLock(path).acquire(wait_s=0)
    assert "STATE_IN_USE" == refused.value.reason
    first.release()


def test_a_released_lock_is_free(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    for _ in range(2):
        lock = HostLock(path)
        lock.acquire(wait_s=0)
        lock.release()


def test_two_state_folders_are_two_engines(tmp_path: Path) -> None:
    locks = [HostLock(tmp_path / name) for name in ("a", "b")]
    for lock in locks:
        lock.acquire(wait_s=0)
    for lock in locks:
        lock.release()


ENGINE = """
import sys, threading
from pathlib import Path
from clonepool import commands
from clonepool.host_lock import HostLock
HostLock(Path(sys.argv[1])).acquire(wait_s=0)
commands.run(["sh", "-c", "echo $$ > " + sys.argv[2] + "; exec sleep 60"], timeout_s=60)
"""


def test_a_killed_engines_command_keeps_the_next_engine_out(tmp_path: Path) -> None:
    """It may still write to a volume."""
    path, fifo = tmp_path / "engine.lock", tmp_path / "pid"
    os.mkfifo(fifo)
    argv = [sys.executable, "-c", ENGINE, str(path), str(fifo)]
    with subprocess.Popen(argv) as engine:
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        assert select.select([reader], [], [], TIMEOUT_S)[0], "the command never began"
        command_pid = int(os.read(reader, 100) or b"0")
        os.close(reader)
        engine.send_signal(signal.SIGKILL)
    lock = HostLock(path)
    with pytest.raises(FailedPrecondition):
        lock.acquire(wait_s=0)
    os.kill(command_pid, signal.SIGKILL)
    lock = HostLock(path)
    lock.acquire(wait_s=TIMEOUT_S)
    lock.release()
