"""`clonepool audit`: export the chain of who had which volume, and check such a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

from clonepool.errors import InvalidArgument, NotFound
from clonepool.units import parse_duration


def export_audit(*, since: str = "") -> None:
    """Print the audit as JSON lines: `clonepool audit export > FILE`.

    Who had which volume from when to when, how its bytes were erased, and who has what now. Each
    entry holds the hash of the one before it.

    Parameters
    ----------
    since
        Leave out the entries before this: a time ago, such as 30d, or a day, such as 2026-01-31,
        or a time, such as 2026-01-31T12:00:00Z.

    """
    # the check of a file must not need any of it
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415
    from clonepool.cli.session import connect  # noqa: PLC0415

    request = pb.ExportAuditRequest()
    if since:
        request.since.FromNanoseconds(int(_time(since) * 1e9))
    with connect() as client:
        for line in client.watch("ExportAudit", request):
            print(line.text)


def verify_audit(file: str, /, *, head: str = "") -> None:
    """Check an exported audit; needs no engine.

    It is refused when an entry was taken out, changed, put in or moved, when the file was cut off,
    and when a volume went from one system user to another without a scrub record between.

    Parameters
    ----------
    file
        The file; - is standard input.
    head
        A hash that was noted at an earlier time: it must be in the chain. Without it, nothing
        tells a file that was made up as a whole from a true one.

    """
    from clonepool.domain.audit_check import check_lines  # noqa: PLC0415 - see above

    with _opened(file) as lines:
        checked = check_lines(lines, expected_head=head)
    part = "whole" if checked.complete else "in part"
    print(
        f"the audit of engine {checked.engine_id} holds ({part}): {checked.entries} entries on "
        f"{checked.volumes} volumes, {checked.holdings} held now\nhead {checked.head}"
    )


@contextmanager
def _opened(file: str) -> Iterator[IO[str]]:
    if file == "-":
        yield sys.stdin
        return
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            yield lines
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}; `clonepool audit export` writes one") from None
    except OSError as problem:
        raise InvalidArgument(f"{file} can't be read: {problem.strerror}") from None


def _time(text: str) -> float:
    with contextlib.suppress(InvalidArgument):
        return time.time() - parse_duration(text, field="--since")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{text[:40]!r} is no time; write 30d, 2026-01-31 or 2026-01-31T12:00:00Z"
        raise InvalidArgument.field("--since", problem) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
