"""An ext2/3/4 file system inside an image file, read and written by e2fsprogs, never mounted."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool import commands
from clonepool.errors import CommandError, DataLoss, FailedPrecondition, ResourceExhausted

_QUERY_TIMEOUT_S: Final = 60.0
# debugfs exits with 0 whatever happens; what it prints on stderr besides this is a failure
_BANNER: Final = re.compile(r"debugfs \d[\w.]* \(.+\)")
_STAT: Final = re.compile(
    r"Inode: \d+ +Type: (?P<type>\w[\w ]*?) +Mode: +(?P<mode>[0-7]+).*?"
    r"User: +(?P<uid>\d+) +Group: +(?P<gid>\d+).*?Size: (?P<size>\d+)",
    re.DOTALL,
)
_FAST_LINK: Final = re.compile(r'^Fast link dest: "(?P<target>.*)"$', re.MULTILINE)
_NOT_FOUND: Final = "File not found by ext2_lookup"
_NO_SPACE: Final = ("No free space", "Could not allocate", "No space left")
# e2fsck: 0 is clean, 1 is mended
_MENDED: Final = 1


@dataclass(frozen=True, kw_only=True)
class Inode:
    """What a path in the image leads to; ``kind`` is debugfs's word: regular, directory, ..."""

    kind: str
    mode: int
    uid: int
    gid: int
    size_bytes: int
    link_target: str = ""


class ExtImage:
    """The file system in one image file. Paths are absolute and checked by the caller.

    ``on_wait`` is called while a long command runs, and may raise to stop it.
    """

    def __init__(
        self,
        *,
        image: Path,
        scratch: Path,
        timeout_s: float,
        on_wait: Callable[[], None],
    ) -> None:
        self._image = image
        self._scratch = scratch
        self._timeout_s = timeout_s
        self._on_wait = on_wait

    def find(self, path: str) -> Inode | None:
        """What is at ``path``, not following a last symbolic link; None if nothing is."""
        output = self._debugfs("-R", f"stat {quoted(path)}")
        complaints = _complaints(output.stderr)
        if any(_NOT_FOUND in line for line in complaints):
            return None
        text = output.stdout.decode(errors="surrogateescape")
        found = _STAT.search(text)
        if complaints or found is None:
            raise DataLoss(f"{path} can't be looked at in the image: {'; '.join(complaints)}")
        return Inode(
            kind=found["type"].strip(),
            mode=int(found["mode"], 8),
            uid=int(found["uid"]),
            gid=int(found["gid"]),
            size_bytes=int(found["size"]),
            link_target=self._link_target(path, text) if found["type"] == "symlink" else "",
        )

    def _link_target(self, path: str, stat_text: str) -> str:
        short = _FAST_LINK.search(stat_text)
        if short:
            return short["target"]
        output = self._debugfs("-R", f"cat {quoted(path)}")
        return output.stdout.decode(errors="surrogateescape")

    def read(self, path: str) -> bytes:
        """The bytes of a regular file."""
        with tempfile.NamedTemporaryFile(dir=self._scratch) as target:
            self._debugfs("-R", f"dump {quoted(path)} {quoted(target.name)}")
            return Path(target.name).read_bytes()

    def execute(self, requests: Sequence[str]) -> None:
        """Run debugfs requests that write. Raises at the first complaint of any of them."""
        with tempfile.NamedTemporaryFile(dir=self._scratch) as script:
            script.write(os.fsencode("\n".join(requests) + "\n"))
            script.flush()
            complaints = _complaints(self._debugfs("-w", "-f", script.name).stderr)
        text = "; ".join(complaints)
        if any(words in text for words in _NO_SPACE):
            raise ResourceExhausted(
                f"the image's file system is full: {text}; use a source with more free space in it",
                reason="IMAGE_FULL",
            )
        if complaints:
            raise FailedPrecondition(f"the image's file system refuses: {text}", reason="DEBUGFS")

    def repair(self) -> None:
        """Play the journal back and mend what needs no question. Raises DataLoss."""
        if self._e2fsck("-p") > _MENDED:
            raise DataLoss(
                "the image's file system needs repair by hand; run e2fsck on the source",
                reason="IMAGE_DAMAGED",
            )

    def check(self) -> None:
        """Verify the whole file system, changing nothing. Raises DataLoss."""
        if self._e2fsck("-f", "-n"):
            raise DataLoss(
                "the image's file system has errors; run e2fsck on the source and import it again",
                reason="IMAGE_DAMAGED",
            )

    def _e2fsck(self, *options: str) -> int:
        argv = ["e2fsck", *options, str(self._image)]
        try:
            commands.run_watched(argv, timeout_s=self._timeout_s, watch=lambda _: self._on_wait())
        except CommandError as error:
            if error.exit_code in (None, 127):
                raise _missing(error) from error
            return error.exit_code or 0
        return 0

    def _debugfs(self, *options: str) -> commands.Output:
        try:
            return commands.run(["debugfs", *options, str(self._image)], timeout_s=_QUERY_TIMEOUT_S)
        except CommandError as error:
            raise _missing(error) from error


def quoted(argument: str) -> str:
    """An argument of a debugfs request; it knows no escapes, so a quote can't be in it."""
    if '"' in argument or "\n" in argument:
        raise FailedPrecondition(f"{argument!r} can't be written as a debugfs argument")
    return f'"{argument}"'


def _complaints(stderr: str) -> list[str]:
    lines = (line.strip() for line in stderr.splitlines())
    return [line for line in lines if line and not _BANNER.fullmatch(line)]


def _missing(error: CommandError) -> FailedPrecondition:
    return FailedPrecondition(
        f"{error}; writing files into an image needs e2fsprogs on the engine's machine "
        "(Debian: apt install e2fsprogs)",
        reason="NO_E2FSPROGS",
    )
