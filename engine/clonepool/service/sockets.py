"""The Unix socket: a directory of our own, mode 0600 from the first moment, one engine on it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clonepool.errors import FailedPrecondition, PermissionDenied

_PROBE_TIMEOUT_S: Final = 2.0


def prepare_socket(path: Path) -> None:
    """Make the directory and take away what a dead engine left.

    Raises FailedPrecondition when an engine answers there, or something else lies there, and
    PermissionDenied when this user may not write there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        present = path.lstat()
    except FileNotFoundError:
        return
    except OSError as problem:
        raise _denied(path, problem) from None
    if not stat.S_ISSOCK(present.st_mode):
        raise FailedPrecondition(
            f"{path} exists and is no socket; move it away or choose another `listen`",
            reason="NOT_A_SOCKET",
        )
    if _answers(path):
        raise FailedPrecondition(
            f"an engine answers at unix://{path} already; stop it or choose another `listen`",
            reason="ENGINE_RUNS",
        )
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """What is made within can be used by this user only: a socket is open from its bind on."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def remove_socket(path: Path, *, inode: int) -> None:
    """Take our socket away; not one that another engine has made there since."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except PermissionError as problem:
            raise _denied(path, problem) from None
        except OSError:
            # a full backlog or a time-out: something holds it
            return True
    return True


def _denied(path: Path, problem: OSError) -> PermissionDenied:
    return PermissionDenied(
        f"no right to make the socket {path} ({problem.strerror}); run as another user or choose "
        "another `listen`"
    )
