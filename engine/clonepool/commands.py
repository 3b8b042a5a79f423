"""The one way to run an outside command: a list, a time limit, a clean environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from clonepool.errors import CommandError

# stderr of a failed command goes into messages and rows: a bound keeps both readable
_STDERR_LIMIT_CHARS = 4000


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
            pass_fds=tuple(pass_fds),
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
