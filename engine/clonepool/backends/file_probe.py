"""What the file system under a directory can do, found out by trying it right there."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.sparse import punch_hole, reflink

_BLOCK_BYTES: Final = 4096


@dataclass(frozen=True, kw_only=True)
class FileSystemFacts:
    """Features of one file system; a reason is "" where the feature works."""

    kind: str  # "xfs", "ext4", ...
    no_reflink_reason: str
    no_punch_hole_reason: str

    @property
    def keeps_order(self) -> bool:
        """Whether a durable rename makes durable every change of metadata made before it.

        XFS recovers its log in order. Btrfs does not promise it: a neighbour's fsync of the
        folder can bring back the new name with an empty file.
        """
        return self.kind == "xfs"


def probe_file_system(directory: Path) -> FileSystemFacts:
    """Try a reflink and a punched hole in ``directory``; leaves nothing. Raises OSError."""
    with (
        tempfile.TemporaryFile(dir=directory) as source,
        tempfile.TemporaryFile(dir=directory) as target,
    ):
        source.write(b"\xa5" * _BLOCK_BYTES)
        source.flush()
        no_reflink = _try_reflink(source.fileno(), target.fileno())
        no_punch_hole = _try_punch_hole(source.fileno())
    return FileSystemFacts(
        kind=file_system_kind(directory),
        no_reflink_reason=no_reflink,
        no_punch_hole_reason=no_punch_hole,
    )


def _try_reflink(source: int, target: int) -> str:
    try:
        reflink(source=source, target=target)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _try_punch_hole(descriptor: int) -> str:
    try:
        punch_hole(descriptor, start=0, length=_BLOCK_BYTES)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def file_system_kind(directory: Path) -> str:
    """The file system's name, by the longest mount point above ``directory``."""
    here = str(directory.resolve())
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, after = line.partition(" - ")
        mount_point = fields.split(" ")[4].replace("\\040", " ")
        inside = here == mount_point or here.startswith(mount_point.rstrip("/") + os.sep)
        # equal length: a later mount covers an earlier one
        if inside and len(mount_point) >= len(best):
            best, kind = mount_point, after.split(" ")[0]
    return kind
