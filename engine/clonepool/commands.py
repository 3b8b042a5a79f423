"""The one way to run an outside command: a list, a time limit, a clean environment."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from clonepool.errors import CommandError

# stderr of a failed command goes into messages and rows: a bound keeps both readable
_STDERR_LIMIT_CHARS = 4000
_WATCH_INTERVAL_S = 0.1


# descriptors that every command inherits: the engine's host lock is held until the last one ends
_HELD: set[int] = set()


def hold(descriptor: int) -> None:
    """Let every command from now on inherit ``descriptor``."""
    _HELD.add(descriptor)


def let_go(descriptor: int) -> None:
    """Undo ``hold``."""
    _HELD.discard(descriptor)


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a command that succeeded printed."""

    stdout: bytes
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] = MappingProxyType({}),
) -> Output:
    """Run ``argv`` without a shell and wait; blocks for up to ``timeout_s`` seconds.

    Raises CommandError for a non-zero exit, a time-out (exit_code None) or a missing program
    (exit_code 127). ``env`` is added to the caller's environment, with LC_ALL=C.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            pass_fds=(*pass_fds, *_HELD),
            env={**os.environ, **env, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise CommandError(argv=argv, exit_code=127, stderr="command not found") from None
    except subprocess.TimeoutExpired:
        text = f"no answer within {timeout_s:g} s"
        raise CommandError(argv=argv, exit_code=None, stderr=text) from None
    stderr = done.stderr.decode(errors="replace")[-_STDERR_LIMIT_CHARS:]
    if done.returncode != 0:
        raise CommandError(argv=argv, exit_code=done.returncode, stderr=stderr)
    return Output(stdout=done.stdout, stderr=stderr)


def start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start ``argv`` with pipes to it and from it: for what may hang in the kernel for good.

    It inherits nothing else, not even the host lock, so where no kill reaches it, it still never
    keeps this engine from ending or the next one from starting. Raises CommandError for a missing
    program.
    """
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CommandError(argv=argv, exit_code=127, stderr="command not found") from None


def run_watched(
    argv: Sequence[str],
    *,
    timeout_s: float,
    watch: Callable[[bytes], None],
) -> Output:
    """As ``run``, for long work: ``watch`` gets what stdout holds so far, ten times a second.

    When ``watch`` raises, the command is killed and the error goes on to the caller: that is how
    work is cancelled.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=tuple(_HELD),
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise CommandError(argv=argv, exit_code=127, stderr="command not found") from None
        with process:
            exit_code = _wait(
                process,
                timeout_s=timeout_s,
                watch=lambda: watch(_content(stdout.fileno())),
            )
        text = _content(stderr.fileno()).decode(errors="replace")[-_STDERR_LIMIT_CHARS:]
        if exit_code is None:
            text = f"no answer within {timeout_s:g} s"
        if exit_code != 0:
            raise CommandError(argv=argv, exit_code=exit_code, stderr=text)
        return Output(stdout=_content(stdout.fileno()), stderr=text)


def _wait(
    process: subprocess.Popen[bytes], *, timeout_s: float, watch: Callable[[], None]
) -> int | None:
    """The exit code, or None when the time ran out; the process has ended in every case."""
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            try:
                return process.wait(timeout=_WATCH_INTERVAL_S)
            except subprocess.TimeoutExpired:
                watch()
    finally:
        process.kill()  # does nothing to one that has ended
    return None


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
