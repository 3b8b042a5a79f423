"""Any image to a raw, sparse file of its own in staging, as large as it was asked for."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from clonepool import commands
from clonepool.errors import CommandError, DataLoss, InvalidArgument, ResourceExhausted
from clonepool.importer.fetch import Source
from clonepool.importer.image_format import ImageFormat
from clonepool.importer.limits import ImportLimits, check_free
from clonepool.importer.wholeness import check_whole, measure_data
from clonepool.sparse import copy_sparse, data_bytes, reflink
from clonepool.units import format_size

SECTOR_BYTES: Final = 512
_PERCENT: Final = re.compile(rb"\((\d+\.\d+)/100%\)")
_TAIL_BYTES: Final = 64
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def to_raw(
    source: Source,
    image: ImageFormat,
    *,
    target: Path,
    limits: ImportLimits,
    progress: Callable[[int], None],
) -> None:
    """Make ``target`` the image's raw bytes; the user's own file is copied, never taken.

    A reflink where that works, else a copy that keeps holes. Raises ResourceExhausted,
    InvalidArgument (the image is damaged), and whatever ``progress`` raises.
    """
    if image.name != "raw":
        _convert(source, image, target=target, limits=limits, progress=progress)
    elif source.ours:
        os.rename(source.path, target)
    else:
        _copy(source, target=target, limits=limits, progress=progress)
    source.confirm()
    progress(image.virtual_size_bytes)


def grow(raw: Path, *, size_bytes: int, notify: Callable[[str], None]) -> int:
    """Make the image ``size_bytes`` large (0: as it is), in whole sectors; returns its size.

    What is added reads as zeros; a file system in it is not made larger. ``notify`` is told of a
    size that had to be rounded up. Raises InvalidArgument for a size below the image's own.
    """
    own_bytes = raw.stat().st_size
    if size_bytes and size_bytes < own_bytes:
        raise InvalidArgument.field(
            "size",
            f"{format_size(size_bytes)} ({size_bytes} bytes) is less than the image's own "
            f"{format_size(own_bytes)} ({own_bytes} bytes); leave it out or make it larger",
        )
    wanted_bytes = size_bytes or own_bytes
    rounded_bytes = -(-wanted_bytes // SECTOR_BYTES) * SECTOR_BYTES
    if rounded_bytes != wanted_bytes:
        notify(
            f"the image's {wanted_bytes} bytes are rounded up to {rounded_bytes}, "
            f"a multiple of {SECTOR_BYTES}"
        )
    if rounded_bytes != own_bytes:
        os.truncate(raw, rounded_bytes)
    return rounded_bytes


def _convert(
    source: Source,
    image: ImageFormat,
    *,
    target: Path,
    limits: ImportLimits,
    progress: Callable[[int], None],
) -> None:
    check_whole(source.path, image_format=image.name, shown_name=source.name)
    _check_room(source, image, directory=target.parent, limits=limits)
    # the format was found out once: probing again could find another
    argv = ["qemu-img", "convert", "-p", "-f", image.name, "-O", "raw", "--"]

    def watch(stdout: bytes) -> None:
        percents = _PERCENT.findall(stdout[-_TAIL_BYTES:])
        done = float(percents[-1]) / 100 if percents else 0.0
        progress(int(image.virtual_size_bytes * done))

    try:
        commands.run_watched(
            [*argv, str(source.path), str(target)],
            timeout_s=limits.command_timeout_s,
            watch=watch,
        )
    except CommandError as error:
        if os.strerror(errno.ENOSPC) in error.stderr:
            raise ResourceExhausted(
                f"converting {source.name}: no space is left in {target.parent}; free some space",
                reason="STAGING_FULL",
            ) from error
        said = error.stderr.replace(str(source.path), source.name)
        raise InvalidArgument(
            f"{source.name} can't be converted from {image.name}: {said or error}",
            reason="BAD_IMAGE",
        ) from error
    if target.stat().st_size != image.virtual_size_bytes:
        raise DataLoss(f"{source.name}: qemu-img made {target.stat().st_size} bytes of it")


def _copy(
    source: Source, *, target: Path, limits: ImportLimits, progress: Callable[[int], None]
) -> None:
    with source.path.open("rb") as reader, target.open("xb") as writer:
        with suppress(OSError):  # no reflinks here, or another file system: copy
            reflink(source=reader.fileno(), target=writer.fileno())
            return
        check_free(
            directory=target.parent,
            needed_bytes=data_bytes(reader.fileno()),
            limits=limits,
            doing=f"copying {source.name}",
        )
        try:
            copy_sparse(source=reader.fileno(), target=writer.fileno(), progress=progress)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise ResourceExhausted(
                f"copying {source.name}: {error}; free some space", reason="STAGING_FULL"
            ) from error


def _check_room(
    source: Source, image: ImageFormat, *, directory: Path, limits: ImportLimits
) -> None:
    """A small file can hold what fills any disk: compressed, or one block many times."""
    check_free(
        directory=directory,
        needed_bytes=measure_data(
            source.path,
            image_format=image.name,
            virtual_size_bytes=image.virtual_size_bytes,
            shown_name=source.name,
        ),
        limits=limits,
        doing=f"converting {source.name}",
    )
