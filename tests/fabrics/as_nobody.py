"""Running a piece of a test as a normal user, when the tests run as root."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

NOBODY = 65534

needs_root_to_become_nobody = pytest.mark.root


def as_nobody(work: Callable[[Path], str]) -> str:
    """What ``work`` returns when run in a child as ``nobody``, in a folder of its own.

    A fork, not a new interpreter: root's Python may lie where others can't read, so what ``work``
    needs must be imported already.
    """
    folder = Path(tempfile.mkdtemp(prefix="clonepool-nobody-"))
    os.chown(folder, NOBODY, NOBODY)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(work, folder, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    shutil.rmtree(folder)
    return answer


def _child(work: Callable[[Path], str], folder: Path, writing: int) -> None:
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.chdir(folder)
        answer = work(folder)
    except BaseException:  # noqa: BLE001 - the parent shows it; nothing may leave the child
        answer = traceback.format_exc()
    os.write(writing, answer.encode())
    os._exit(0)
