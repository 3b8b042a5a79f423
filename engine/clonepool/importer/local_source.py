"""Files on the engine's side: only regular ones, only under the allowed roots."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.errors import (
    Aborted,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)

_SHOWN_CHARS: Final = 200


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """An open source file; ``path`` is its real path, symbolic links resolved."""

    path: Path
    descriptor: int
    facts: os.stat_result

    def check_unchanged(self) -> None:
        """Raise Aborted when somebody wrote to the file since it was opened."""
        now = os.fstat(self.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.facts.st_size, self.facts.st_mtime_ns):
            raise Aborted(
                f"{self.path} changed while it was imported; run again once it is complete",
                reason="SOURCE_CHANGED",
            )


@contextmanager
def open_local(source: str, *, import_roots: Sequence[Path]) -> Iterator[LocalFile]:
    """Open ``source`` for reading. Without ``import_roots`` everything is allowed.

    Raises InvalidArgument (not absolute, no regular file), NotFound, PermissionDenied (outside
    the roots, symbolic links resolved, or not readable for the engine's user).
    """
    if not source.startswith("/") or "\0" in source:
        raise InvalidArgument.field("source", f"{source!r} is no absolute path and no http(s) URL")
    path = Path(os.path.realpath(source))
    _check_roots(path, import_roots)
    descriptor = _open_regular(path)
    try:
        # what was opened, not what the path said a moment ago
        real = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        _check_roots(real, import_roots)
        yield LocalFile(path=real, descriptor=descriptor, facts=os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _check_roots(path: Path, import_roots: Sequence[Path]) -> None:
    if not import_roots:
        return
    roots = [Path(os.path.realpath(root)) for root in import_roots]
    if any(path.is_relative_to(root) for root in roots):
        return
    named = ", ".join(map(str, roots))
    raise PermissionDenied(
        f"{path} is outside the engine's import roots ({named}); move the file there, give a URL, "
        "or set import_roots",
        reason="OUTSIDE_IMPORT_ROOTS",
    )


def _open_regular(path: Path) -> int:
    try:
        # looked at before it is opened: opening a device or a FIFO can already do something
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InvalidArgument.field("source", f"{path} is no regular file")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"source {path} is not there, on the engine's side") from None
    except PermissionError:
        raise PermissionDenied(
            f"the engine's user (uid {os.geteuid()}) may not read {path}; give it the right"
        ) from None
    except OSError as error:
        # a loop of links, a name that is too long, a file below a file
        text = f"{str(path)[:_SHOWN_CHARS]} can't be opened: {error.strerror}"
        raise InvalidArgument.field("source", text) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidArgument.field("source", f"{path} is no regular file")
    return descriptor
