"""What a declared master image must be; the rules of its system user, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.states import PortionRole
from clonepool.service.findings import Findings

_FORMAT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_SECTOR_BYTES: Final = 512
_LARGEST_MODE: Final = 0o7777
_PATH_LIMIT_BYTES: Final = 4095
_PATH_PART_LIMIT_BYTES: Final = 255
# what the program that writes into file systems can't be told
_NOT_IN_PATHS: Final = frozenset("\"'\\")
_PRECONFIGURE_LIMIT: Final = 1000
_USER_NAME_LIMIT_CHARS: Final = 128


def image(spec: pb.ImageSpec, findings: Findings) -> None:
    """A master image as declared."""
    findings.name(spec.name, "name")
    if spec.HasField("system_user"):
        system_user(spec.system_user, findings)
    portions = [role for role in PortionRole if spec.HasField(role.value)]
    findings.require(
        portions, "writable", "an image needs a read_only portion, a writable portion, or both"
    )
    for role in portions:
        _portion(getattr(spec, role.value), findings, field=role.value)
    _preconfigure(spec.preconfigure, findings, portions=portions)
    findings.optional_name(spec.storage, "storage")
    findings.labels(spec.labels, "labels")


def system_user(user: pb.SystemUser, findings: Findings) -> None:
    """A name, and a kind that exists."""
    findings.text(user.name, "system_user.name", limit=_USER_NAME_LIMIT_CHARS)
    known = (pb.SYSTEM_USER_KIND_CUSTOMER, pb.SYSTEM_USER_KIND_APPLICATION)
    findings.require(
        user.kind in known, "system_user.kind", "must be one of: customer, application"
    )


def _portion(portion: pb.PortionSpec, findings: Findings, *, field: str) -> None:
    _source(portion.source, findings, field=f"{field}.source")
    if portion.format and not _FORMAT.fullmatch(portion.format):
        findings.add(f"{field}.format", "must be auto, raw or a format that qemu-img reads")
    findings.not_negative(portion.size_bytes, f"{field}.size")
    findings.require(
        portion.size_bytes % _SECTOR_BYTES == 0,
        f"{field}.size",
        f"{portion.size_bytes} is not a multiple of {_SECTOR_BYTES} bytes",
    )
    if portion.sha256:
        findings.require(
            _SHA256.fullmatch(portion.sha256), f"{field}.sha256", "must be 64 hexadecimal digits"
        )


def _source(source: str, findings: Findings, *, field: str) -> None:
    good = source.startswith("/") or is_url(source)
    if findings.require(
        good, field, "must be an absolute path on the engine's machine, or an http(s) URL"
    ):
        findings.text(source, field, limit=_PATH_LIMIT_BYTES)


def is_url(source: str) -> bool:
    """Whether a source is fetched from the network, not read from a path."""
    return source.lower().startswith(("http://", "https://"))


def _preconfigure(
    items: Sequence[pb.Preconfigure], findings: Findings, *, portions: Sequence[PortionRole]
) -> None:
    findings.require(
        len(items) <= _PRECONFIGURE_LIMIT, "preconfigure", f"at most {_PRECONFIGURE_LIMIT} files"
    )
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(items[:_PRECONFIGURE_LIMIT]):
        field = f"preconfigure[{index}]"
        _preconfigured_file(item, findings, field=field, portions=portions)
        findings.require(
            (item.portion, item.path) not in seen, f"{field}.path", "is given more than once"
        )
        seen.add((item.portion, item.path))


def _preconfigured_file(
    item: pb.Preconfigure, findings: Findings, *, field: str, portions: Sequence[PortionRole]
) -> None:
    findings.require(
        item.portion in [role.value for role in portions],
        f"{field}.portion",
        f"{item.portion!r} must be a portion of this image: {', '.join(portions) or 'none given'}",
    )
    findings.require(
        _is_file_path(item.path),
        f"{field}.path",
        "must be the absolute path of a file, without .., quotes and backslashes",
    )
    given = item.WhichOneof("data")
    findings.require(given, f"{field}.content", "give exactly one of content and source")
    if given == "source":
        _source(item.source, findings, field=f"{field}.source")
    findings.require(
        item.mode <= _LARGEST_MODE, f"{field}.mode", f"{item.mode:o} is not a file mode (0 to 7777)"
    )


def _is_file_path(path: str) -> bool:
    parts = path.split("/")[1:]
    return (
        path.startswith("/")
        and path.isprintable()
        and not set(path) & _NOT_IN_PATHS
        and len(path.encode()) <= _PATH_LIMIT_BYTES
        and all(part not in ("", ".", "..") for part in parts)
        and all(len(part.encode()) <= _PATH_PART_LIMIT_BYTES for part in parts)
    )
