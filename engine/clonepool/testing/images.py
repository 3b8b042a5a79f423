"""Test images, made without mounting anything: raw bytes, sparse files, ext4 with files in it."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clonepool import commands

_TOOL_TIMEOUT_S: Final = 60.0
_RANDOM_STEP_BYTES: Final = 2**20


def make_random_image(path: Path, *, size_bytes: int, seed: int = 0) -> Path:
    """A file of random bytes, the same for the same ``seed``."""
    source = random.Random(seed)  # noqa: S311 - test data
    with path.open("wb") as file:
        for start in range(0, size_bytes, _RANDOM_STEP_BYTES):
            file.write(source.randbytes(min(_RANDOM_STEP_BYTES, size_bytes - start)))
    return path


def make_sparse_image(
    path: Path, *, size_bytes: int, data: Mapping[int, bytes] = MappingProxyType({})
) -> Path:
    """A file with holes, and ``data`` at the given offsets."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
        for offset, content in data.items():
            file.seek(offset)
            file.write(content)
    return path


def make_ext4_image(
    path: Path,
    *,
    size_bytes: int,
    files: Mapping[str, str | bytes] = MappingProxyType({}),
    label: str = "",
) -> Path:
    """A raw ext4 file system with ``files`` (absolute path to content), owned by root.

    Needs mke2fs (Debian package e2fsprogs) and no rights.
    """
    make_sparse_image(path, size_bytes=size_bytes)
    with tempfile.TemporaryDirectory(prefix="clonepool-image-") as folder:
        _write_tree(Path(folder), files)
        argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", folder]
        commands.run(
            [*argv, *(["-L", label] if label else []), str(path)], timeout_s=_TOOL_TIMEOUT_S
        )
    return path


def _write_tree(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        target = folder / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


def read_ext4_file(image: Path, path: str) -> bytes:
    """One file's bytes out of an ext2/3/4 image; b"" when it is absent. Needs debugfs."""
    argv = ["debugfs", "-R", f'cat "{path}"', str(image)]
    return commands.run(argv, timeout_s=_TOOL_TIMEOUT_S).stdout


def allocated_bytes(path: Path) -> int:
    """Bytes of disk that a file uses, holes not counted."""
    return os.stat(path).st_blocks * 512
