"""What format an image file has, and whether it is safe to read: nothing but itself is opened."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clonepool import commands
from clonepool.errors import CommandError, FailedPrecondition, InvalidArgument, PermissionDenied
from clonepool.units import format_size

# Formats that are one file. Never the names of qemu's protocols (nbd, vvfat, http, ...), which
# would let a declaration read other places of the engine's machine.
FORMATS: Final = frozenset(
    {
        *("raw", "bochs", "cloop", "dmg", "parallels", "qcow", "qcow2", "qed"),
        *("vdi", "vhdx", "vmdk", "vpc"),
    }
)
_ALIASES: Final = {"vhd": "vpc"}
# VMDKs whose data is in the file itself; the others name files to read
_VMDK_ALONE: Final = frozenset({"monolithicSparse", "streamOptimized"})
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
_QCOW2_HEAD: Final = struct.Struct(">4sIQ56xQ")
_QCOW2_EXTERNAL_DATA: Final = 0x4
_QCOW2_VERSION_WITH_FEATURES: Final = 3
_VMDK_DESCRIPTOR: Final = b"# Disk DescriptorFile"
_PEEK_BYTES: Final = 4096
_INFO_TIMEOUT_S: Final = 60.0
# qemu-img on a hostile file: bounded in memory and time
_INFO_LIMITS: Final = ("prlimit", "--as=2147483648", "--cpu=30", "--")


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """A file's format and the size a server would see."""

    name: str
    virtual_size_bytes: int


def find_format(path: Path, *, declared: str, shown_name: str) -> ImageFormat:
    """The format of ``path``: as declared, or found out where that is ``auto``.

    A file that is declared raw is never looked into. Raises InvalidArgument (unknown format,
    compressed, not what was declared), PermissionDenied (it would read other files),
    FailedPrecondition (qemu-img is missing).
    """
    wanted = _ALIASES.get(declared, declared) or "auto"
    if wanted not in FORMATS | {"auto"}:
        raise InvalidArgument.field(
            "format", f"{declared!r} is not one of auto, {', '.join(sorted(FORMATS))}"
        )
    if wanted == "raw":
        return ImageFormat(name="raw", virtual_size_bytes=path.stat().st_size)
    _check_head(_peek(path), shown_name=shown_name)
    facts = _qemu_info(path, wanted=wanted, shown_name=shown_name)
    _check_alone(facts, shown_name=shown_name)
    found = facts["format"]
    if found == "raw":
        # qemu rounds up to whole sectors; the caller does so itself, and says it
        return ImageFormat(name="raw", virtual_size_bytes=path.stat().st_size)
    return ImageFormat(name=found, virtual_size_bytes=facts["virtual-size"])


def check_size(size_bytes: int, *, max_size_bytes: int, shown_name: str) -> None:
    """Refuse an empty or absurdly large image. Raises InvalidArgument."""
    if not 0 < size_bytes <= max_size_bytes:
        raise InvalidArgument(
            f"{shown_name} is an image of {format_size(size_bytes)}; "
            f"it must be more than 0 and at most {format_size(max_size_bytes)}",
            reason="IMAGE_SIZE",
        )


def qemu_img_missing() -> FailedPrecondition:
    """What to say where qemu-img is not installed."""
    return FailedPrecondition(
        "qemu-img is needed for images that are not declared format raw; "
        "install it on the engine's machine (Debian: apt install qemu-utils)",
        reason="NO_QEMU_IMG",
    )


def _peek(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_PEEK_BYTES)


def _check_head(head: bytes, *, shown_name: str) -> None:
    """What can be known without qemu, before it opens what a header points to."""
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise InvalidArgument(
                f"{shown_name} is compressed ({name}); unpack it first, or declare format raw "
                "if these bytes are the image",
                reason="COMPRESSED_SOURCE",
            )
    if head.startswith(_VMDK_DESCRIPTOR):
        raise _names_other_files(shown_name, "a VMDK descriptor without data of its own")
    if head.startswith(b"QFI\xfb") and len(head) >= _QCOW2_HEAD.size:
        _, version, backing_offset, features = _QCOW2_HEAD.unpack_from(head)
        if backing_offset:
            raise _names_other_files(shown_name, "a backing file")
        if version >= _QCOW2_VERSION_WITH_FEATURES and features & _QCOW2_EXTERNAL_DATA:
            raise _names_other_files(shown_name, "an external data file")


def _qemu_info(path: Path, *, wanted: str, shown_name: str) -> dict[str, Any]:
    limits = _INFO_LIMITS if shutil.which("prlimit") else ()
    as_format = () if wanted == "auto" else ("-f", wanted)
    argv = [*limits, "qemu-img", "info", "--output=json", *as_format, "--", str(path)]
    if shutil.which("qemu-img") is None:
        raise qemu_img_missing()
    try:
        facts: dict[str, Any] = json.loads(commands.run(argv, timeout_s=_INFO_TIMEOUT_S).stdout)
    except CommandError as error:
        said = error.stderr.replace(str(path), shown_name)
        raise InvalidArgument(
            f"{shown_name} can't be read as {wanted}: {said or error}", reason="BAD_IMAGE"
        ) from error
    if facts["format"] not in FORMATS:
        raise InvalidArgument(
            f"{shown_name} has format {facts['format']}, which is not imported; convert it to "
            "qcow2 or raw first",
            reason="BAD_IMAGE",
        )
    return facts


def _check_alone(facts: dict[str, Any], *, shown_name: str) -> None:
    specific = facts.get("format-specific", {}).get("data", {})
    if facts.get("backing-filename") or facts.get("full-backing-filename"):
        raise _names_other_files(shown_name, "a backing file")
    if specific.get("data-file"):
        raise _names_other_files(shown_name, "an external data file")
    if facts["format"] == "vmdk" and specific.get("create-type") not in _VMDK_ALONE:
        raise _names_other_files(shown_name, f"a VMDK of type {specific.get('create-type')}")
    if facts.get("encrypted"):
        raise InvalidArgument(
            f"{shown_name} is encrypted; decrypt it first (qemu-img convert)", reason="ENCRYPTED"
        )


def _names_other_files(shown_name: str, what: str) -> PermissionDenied:
    return PermissionDenied(
        f"{shown_name} has {what}: it would have other files read on the engine's machine; "
        "flatten it first (qemu-img convert -O qcow2)",
        reason="IMAGE_NAMES_OTHER_FILES",
    )
