"""A Pulumi command line that is told of an interrupt, and waited for."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from typing import IO

from pulumi import automation
from pulumi.automation.errors import create_command_error

OnOutput = Callable[[str], object]
GRACE_S = 5.0
_HOLDER = re.compile(r"created by \S+@(\S+) \(pid (\d+)\)")


class InterruptiblePulumi(automation.PulumiCommand):
    """Runs Pulumi in a session of its own, and hands Ctrl-C on to it.

    The SDK lets go of its Pulumi at Ctrl-C; that then dies of a closed pipe, and the lock on the
    stack stays. This one tells it, waits until it has ended in good order, and is interrupted then.
    """

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: OnOutput | None = None,
        on_error: OnOutput | None = None,
    ) -> automation.CommandResult:
        """Run it to its end. Raises CommandError, and KeyboardInterrupt once it was interrupted."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                [self.command, "--non-interactive", *args],
                cwd=cwd,
                env={**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            interrupted = _wait(process)
            result = automation.CommandResult(
                stdout=_lines(out, on_output), stderr=_lines(err, on_error), code=process.returncode
            )
        if interrupted:
            raise KeyboardInterrupt
        if result.code:
            raise create_command_error(result)
        return result


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Whether there was an interrupt before its end.

    At the first one Pulumi lets what it has begun come to its end, which a server that waits for
    storage may take minutes to; at a second one it ends at once, and notes what was begun.
    """
    interrupted, grace_s = False, None
    while True:
        try:
            process.wait(grace_s)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            interrupted, grace_s = True, GRACE_S
            process.send_signal(signal.SIGINT)
        else:
            return interrupted


def _lines(file: IO[str], tell: OnOutput | None) -> str:
    file.seek(0)
    lines = [line.rstrip() for line in file]
    if tell is not None:
        for line in lines:
            tell(line)
    return "\n".join(lines)


def is_abandoned(locked: str) -> bool:
    """Whether those who hold the locks that an error tells of ran here, and are gone.

    Only the backends that are folders and buckets tell who holds them.
    """
    holders = _HOLDER.findall(locked)
    return bool(holders) and all(
        host == socket.gethostname() and not _is_alive(int(pid)) for host, pid in holders
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # somebody else's
        return True
    return True
