"""The source of a portion, on this machine and checked: a local file, or a download."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.errors import DataLoss, InvalidArgument
from clonepool.importer.http_source import download, shown
from clonepool.importer.limits import ImportLimits, Meter
from clonepool.importer.local_source import LocalFile, open_local
from clonepool.sparse import MIB

_STEP_BYTES: Final = MIB
_WEB_SCHEMES: Final = ("http://", "https://")
_SHA256_CHARS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checked source file. ``ours`` says that it lies in staging and may be changed or taken.

    A user's own file (``ours`` False) is read only, and must be confirmed after it was read.
    """

    path: Path
    name: str  # for messages
    ours: bool
    local: LocalFile | None = None

    def confirm(self) -> None:
        """Raise Aborted when the user's file was written to while it was read."""
        if self.local is not None:
            self.local.check_unchanged()


@contextmanager
def fetched(
    *,
    source: str,
    sha256: str,
    import_roots: Sequence[Path],
    staging: Path,
    limits: ImportLimits,
    meter: Meter,
) -> Iterator[Source]:
    """The source, there for the length of the block; its digest is checked while it is read.

    Raises InvalidArgument (no path and no http(s) URL, a bad digest), NotFound,
    PermissionDenied, DataLoss (another digest, cut short), Unavailable, ResourceExhausted.
    """
    wanted = _checked_sha256(sha256)
    if source.lower().startswith(_WEB_SCHEMES):
        limits.check_scheme(source.lower().partition(":")[0], url=shown(source))
        target = staging / "download"
        found = download(
            source,
            target=target,
            limits=limits,
            expect_size=meter.expect_source,
            progress=meter.stage("fetch"),
        )
        _compare(found=found, wanted=wanted, name=shown(source))
        yield Source(path=target, name=shown(source), ours=True)
        return
    if "://" in source:
        raise InvalidArgument.field(
            "source", f"{source!r}: only absolute paths and http(s) URLs are read"
        )
    with open_local(source, import_roots=import_roots) as local:
        _check_not_empty(local)
        meter.expect_source(local.facts.st_size)
        if wanted:
            found = _digest(local.descriptor, progress=meter.stage("fetch"))
            _compare(found=found, wanted=wanted, name=str(local.path))
        meter.stage("fetch")(local.facts.st_size)
        # by descriptor: the path may by now lead elsewhere, for us as for qemu-img
        path = Path(f"/proc/{os.getpid()}/fd/{local.descriptor}")
        yield Source(path=path, name=str(local.path), ours=False, local=local)


def _check_not_empty(local: LocalFile) -> None:
    # so says /proc of its files too, and some of those block whoever reads them
    if local.facts.st_size == 0:
        raise InvalidArgument(
            f"{local.path} is empty (or a file of /proc); an image must be more than 0 bytes",
            reason="IMAGE_SIZE",
        )


def _checked_sha256(sha256: str) -> str:
    text = sha256.strip().lower()
    if text and (len(text) != _SHA256_CHARS or set(text) - set("0123456789abcdef")):
        raise InvalidArgument.field("sha256", f"{sha256[:80]!r} is not 64 hexadecimal digits")
    return text


def _digest(descriptor: int, *, progress: Callable[[int], None]) -> str:
    digest, position = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, _STEP_BYTES, position):
        digest.update(chunk)
        position += len(chunk)
        progress(position)
    return digest.hexdigest()


def _compare(*, found: str, wanted: str, name: str) -> None:
    if wanted and found != wanted:
        raise DataLoss(
            f"{name} has sha256 {found}, but {wanted} was declared; "
            "fetch the right file, or correct the declaration",
            reason="SHA256_MISMATCH",
            metadata={"found": found, "declared": wanted},
        )
