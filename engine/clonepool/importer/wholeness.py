"""Whether an image file is all there: one cut short converts too, with zeros at its end."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Final

from clonepool import commands
from clonepool.errors import CommandError, DataLoss

_CHECK_TIMEOUT_S: Final = 1800.0
_LEAKS_ONLY: Final = 3  # space lost in the file, nothing wrong with the content
_NO_CHECK_FOR_FORMAT: Final = 63
# VDI: where the blocks begin, their size, how many there are
_VDI_HEAD: Final = struct.Struct("<I28xI8xI")
_VDI_HEAD_OFFSET: Final = 0x158
_VPC_FOOTER: Final = b"conectix"
_VPC_FOOTER_BYTES: Final = 512


def check_whole(path: Path, *, image_format: str, shown_name: str) -> None:
    """Refuse a file that was cut short or damaged, as far as its format lets one see.

    A raw file has nothing to check: that is what ``sha256`` is for. Raises DataLoss.
    """
    if image_format == "raw":
        return
    complaint = (
        _vdi_complaint(path)
        if image_format == "vdi"
        else _vpc_complaint(path)
        if image_format == "vpc"
        else _qemu_complaint(path, image_format=image_format)
    )
    if complaint:
        raise DataLoss(
            f"{shown_name} is damaged or was cut short ({image_format}: {complaint}); fetch it "
            "again, or see qemu-img check",
            reason="SOURCE_DAMAGED",
        )


def measure_data(path: Path, *, image_format: str, virtual_size_bytes: int, shown_name: str) -> int:
    """How many bytes of data the raw image will hold, from the image's tables alone.

    Raises DataLoss for an image whose tables can't be read.
    """
    argv = ["qemu-img", "measure", "--output=json", "-f", image_format, "-O", "qcow2", "--"]
    try:
        said = commands.run([*argv, str(path)], timeout_s=_CHECK_TIMEOUT_S).stdout
    except CommandError as error:
        text = error.stderr.replace(str(path), shown_name) or str(error)
        raise DataLoss(f"{shown_name} can't be measured: {text}", reason="SOURCE_DAMAGED") from None
    facts: dict[str, int] = json.loads(said)
    # both hold the tables of a qcow2 of this size, besides the data, or what could be data
    return max(0, facts["required"] - facts["fully-allocated"] + virtual_size_bytes)


def _qemu_complaint(path: Path, *, image_format: str) -> str:
    argv = ["qemu-img", "check", "-q", "-f", image_format, "--", str(path)]
    try:
        commands.run(argv, timeout_s=_CHECK_TIMEOUT_S)
    except CommandError as error:
        if error.exit_code in (_LEAKS_ONLY, _NO_CHECK_FOR_FORMAT):
            return ""
        return error.stderr.replace(str(path), "it").splitlines()[-1] if error.stderr else "errors"
    return ""


def _vdi_complaint(path: Path) -> str:
    """As qemu-img's own check of VDI does not look at the file's size."""
    with path.open("rb") as file:
        file.seek(_VDI_HEAD_OFFSET)
        head = file.read(_VDI_HEAD.size)
    if len(head) < _VDI_HEAD.size:
        return "no whole header"
    data_offset, block_bytes, blocks = _VDI_HEAD.unpack(head)
    needed_bytes = data_offset + block_bytes * blocks
    size_bytes = path.stat().st_size
    return f"{size_bytes} of {needed_bytes} bytes" if size_bytes < needed_bytes else ""


def _vpc_complaint(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _VPC_FOOTER_BYTES))
        return "" if file.read(_VPC_FOOTER_BYTES).startswith(_VPC_FOOTER) else "no footer"
