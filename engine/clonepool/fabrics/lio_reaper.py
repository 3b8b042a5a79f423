"""Removing what the kernel may not let go of at once, without waiting in it.

A login that was begun and not ended holds its portal group's initiator and portals. Some kernels
(6.1 among them) set no limit to that, and who removes a folder of these waits in the kernel until
the server goes on or hangs up; not even a kill ends the wait. So another process removes them,
which is left to itself where it hangs: the group is closed by then and has no LUN any more.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from clonepool import commands

# without a login under way a removal takes less than a millisecond
_PATIENCE_S: Final = 2.0
_LAST_WORDS_S: Final = 0.5
# for each line: what lies in some folders goes first, then other folders, as far as they let
_PROGRAM: Final = """
import json, os, sys
def remove(path):
    try:
        os.rmdir(path)
    except OSError:
        pass
for line in sys.stdin:
    emptied, removed = json.loads(line)
    for folder in emptied:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            remove(os.path.join(folder, name))
    for folder in removed:
        remove(folder)
    print(flush=True)
"""


@cache
def reaper_for(root: Path) -> Reaper:
    """The reaper of a tree, one for all fabrics of this engine."""
    return Reaper(root)


class Reaper:
    """Removes retired groups and portals; what is under way is not begun twice. Thread-safe.

    The process that does it is started at the first removal, and ends with this one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stuck: dict[str, subprocess.Popen[bytes]] = {}

    def remove_group(self, target: str, group: str) -> None:
        """Remove a group with its initiators and portals, then its target if that was the last.

        Returns when it is done, or given up for now. Never looks into the folders itself: that
        waits as the removal does.
        """
        own = f"{self._root}/{target}/{group}"
        removed = [own, f"{self._root}/{target}"]
        self._remove(own, emptied=[f"{own}/acls", f"{own}/np"], removed=removed)

    def remove_portal(self, portal: str) -> None:
        """Remove one portal of a group that goes on."""
        self._remove(portal, emptied=[], removed=[f"{self._root}/{portal}"])

    def _remove(self, key: str, *, emptied: list[str], removed: list[str]) -> None:
        with self._guard:
            if self._is_stuck(key):
                return
            process = self._running()
            if not _ask(process, json.dumps([emptied, removed])):
                self._let_go()
                if process.poll() is None:
                    self._stuck[key] = process

    def _is_stuck(self, key: str) -> bool:
        """Whether the last removal of this still hangs; one that has just ended is seen out."""
        self._stuck = {name: one for name, one in self._stuck.items() if one.poll() is None}
        if key in self._stuck:
            with suppress(subprocess.TimeoutExpired):
                self._stuck[key].wait(timeout=_LAST_WORDS_S)
                del self._stuck[key]
        return key in self._stuck

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = commands.start([sys.executable, "-I", "-S", "-c", _PROGRAM])
        return self._process

    def _let_go(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_LAST_WORDS_S)


def _ask(process: subprocess.Popen[bytes], line: str) -> bool:
    """Whether it was done in time."""
    if process.stdin is None or process.stdout is None:
        return False
    try:
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()
    except OSError:
        return False
    ready, _, _ = select.select([process.stdout], [], [], _PATIENCE_S)
    return bool(ready) and process.stdout.readline() == b"\n"
