"""A command line that runs in the background, in a session of its own as a terminal gives it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.faces.model import PATIENCE_S, Refused
from tests.faces.stack import Running
from tests.support.waiting import wait_for

_SESSION_FIELD = 3  # of /proc/PID/stat, counted after the program's name


class CommandRunning(Running):
    """``presses``: how often Ctrl-C has to be pressed until the command ends by it."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        presses: int,
    ) -> None:
        self._presses = presses
        self._printed = folder / "printed.txt"
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def interrupt(self) -> None:
        for press in range(self._presses):
            if press:
                wait_for(lambda: "cancelling" in self._text(), what="the first Ctrl-C's answer")
            os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        # providers have process groups of their own, but the session is the command's
        for pid in sorted(_members(self._process.pid), reverse=True):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(PATIENCE_S)

    def wait(self) -> str:
        try:
            code = self._process.wait(PATIENCE_S)
        finally:
            if self._process.poll() is None:
                self.kill()
        if code != 0:
            raise Refused(plain(self._text()))
        return self._text()

    def _text(self) -> str:
        return self._printed.read_text(errors="replace")


def plain(text: str) -> str:
    """Without the frames that Terraform draws."""
    return " ".join(text.replace("│", " ").replace("╷", " ").replace("╵", " ").split())


def _members(session: int) -> Iterator[int]:
    """The processes of a session."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            after_name = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(after_name[_SESSION_FIELD]) == session:
            yield int(entry.name)
