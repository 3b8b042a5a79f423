"""A system user's files and state, written into an image's file system at import."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from clonepool.domain.model import Preconfigure
from clonepool.errors import DataLoss, InvalidArgument
from clonepool.importer.debugfs import ExtImage, quoted
from clonepool.importer.ext_path import in_the_way, resolve_folder
from clonepool.importer.file_system import find_ext
from clonepool.importer.limits import ImportLimits
from clonepool.importer.local_source import open_local
from clonepool.units import format_size

_REGULAR_FILE: Final = 0o100000
_DIRECTORY: Final = 0o040000
_PARENT_MODE: Final = 0o755
_MODE_BITS: Final = 0o7777
_MAX_NAME_BYTES: Final = 255
_MAX_PATH_BYTES: Final = 4095


def write_files(
    *,
    image: Path,
    files: Sequence[Preconfigure],
    import_roots: Sequence[Path],
    limits: ImportLimits,
    on_wait: Callable[[], None],
) -> None:
    """Write ``files`` into the ext2/3/4 file system that ``image`` is, without mounting it.

    Parent directories are made (0755), a file that is there is replaced, the owner is root; what
    was written is read back, and the file system verified. Raises InvalidArgument (a path or mode
    that can't be), FailedPrecondition (no such file system, a directory in the way),
    ResourceExhausted (the file system is full), DataLoss (it is damaged), and whatever
    ``on_wait`` raises, which is called all along.
    """
    for file in files:
        check_file(file)
    if not files:
        return
    facts = find_ext(image)
    with tempfile.TemporaryDirectory(dir=image.parent, prefix="files-") as scratch:
        inside = ExtImage(
            image=image,
            scratch=Path(scratch),
            timeout_s=limits.command_timeout_s,
            on_wait=on_wait,
        )
        if facts.needs_repair:
            inside.repair()
        for file in files:
            on_wait()
            content = _content(file, import_roots=import_roots, limits=limits)
            _write(inside, file, content=content, scratch=Path(scratch))
        inside.check()


def check_file(file: Preconfigure) -> None:
    """Refuse a path, content or mode that can never be written. Raises InvalidArgument."""
    path = file.path
    parts = path.split("/")[1:]
    bad_part = any(part in ("", ".", "..") for part in parts)
    too_long = any(len(part.encode()) > _MAX_NAME_BYTES for part in parts)
    if not path.startswith("/") or bad_part or too_long or len(path.encode()) > _MAX_PATH_BYTES:
        raise InvalidArgument.field(
            "preconfigure.path",
            f"{path!r} is not an absolute path of a file, without '.', '..' or empty parts",
        )
    if not path.isprintable() or set(path) & set("\"'\\"):
        raise InvalidArgument.field(
            "preconfigure.path", f"{path!r} has quotes, backslashes or control characters"
        )
    if (file.content is None) == (file.source is None):
        raise InvalidArgument.field("preconfigure", f"{path}: give either content or source")
    if file.mode & ~_MODE_BITS:
        raise InvalidArgument.field(
            "preconfigure.mode", f"{path}: {file.mode:o} has more than permission bits"
        )


def _content(file: Preconfigure, *, import_roots: Sequence[Path], limits: ImportLimits) -> bytes:
    if file.source is None:
        return (file.content or "").encode()
    with open_local(file.source, import_roots=import_roots) as local:
        if local.facts.st_size > limits.max_preconfigure_bytes:
            raise InvalidArgument.field(
                "preconfigure.source",
                f"{local.path} is {format_size(local.facts.st_size)}; at most "
                f"{format_size(limits.max_preconfigure_bytes)} are written into an image",
            )
        content = os.pread(local.descriptor, local.facts.st_size, 0)
        local.check_unchanged()
        return content


def _write(inside: ExtImage, file: Preconfigure, *, content: bytes, scratch: Path) -> None:
    folder, missing = resolve_folder(inside, str(PurePosixPath(file.path).parent))
    target = str(PurePosixPath(folder, *missing, PurePosixPath(file.path).name))
    with tempfile.NamedTemporaryFile(dir=scratch) as staged:
        staged.write(content)
        staged.flush()
        inside.execute(
            [
                *_folder_requests(folder, missing),
                *([] if missing else _removal_requests(inside, target)),
                f"write {quoted(staged.name)} {quoted(target)}",
                *_ownership_requests(target, _REGULAR_FILE | file.mode),
            ]
        )
    _verify(inside, target, mode=file.mode, content=content)


def _folder_requests(folder: str, missing: Sequence[str]) -> list[str]:
    requests: list[str] = []
    for name in missing:
        folder = str(PurePosixPath(folder, name))
        requests.append(f"mkdir {quoted(folder)}")
        requests += _ownership_requests(folder, _DIRECTORY | _PARENT_MODE)
    return requests


def _removal_requests(inside: ExtImage, path: str) -> list[str]:
    found = inside.find(path)
    if found is None:
        return []
    if found.kind == "directory":
        raise in_the_way(path, "a directory")
    return [f"rm {quoted(path)}"]


def _ownership_requests(path: str, mode: int) -> list[str]:
    return [
        f"set_inode_field {quoted(path)} mode 0{mode:o}",
        f"set_inode_field {quoted(path)} uid 0",
        f"set_inode_field {quoted(path)} gid 0",
    ]


def _verify(inside: ExtImage, path: str, *, mode: int, content: bytes) -> None:
    found = inside.find(path)
    read_back = inside.read(path) if found else b""
    meta = (found.kind, found.mode, found.uid, found.gid) if found else None
    if meta != ("regular", mode, 0, 0) or read_back != content:
        raise DataLoss(
            f"{path} was written into the image but reads back differently",
            reason="PRECONFIGURE_MISMATCH",
        )
