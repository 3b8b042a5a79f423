"""tgtd in a unit of its own: a server's I/O goes on without an error through the engine's restarts.

The daemon runs by the words of the unit that we ship, the server's disk is a file that qemu offers
over FUSE from its iSCSI session, and fio writes to it, reads back and compares.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.engine_process import OpenSite
from tests.support.features import find_program
from tests.support.site import CUSTOMER, RW_LUN, Site, initiator_of
from tests.support.systemd_unit import DEPLOY, Unit
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.tgt, pytest.mark.fio, pytest.mark.slow]

# how long fio runs, and how long any of its requests may take at most: a server would notice
RUN_S = 12
LONGEST = "2s"


def program(name: str) -> str:
    """A program that the markers promise."""
    found = find_program(name)
    assert found is not None
    return found


def free_portal() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def running(
    words: Sequence[str], *, log: Path, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process until the block ends; killed then, by its number."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=20)


@contextmanager
def tgtd_unit(folder: Path, portal: str) -> Iterator[Path]:
    """The daemon as clonepool-tgtd.service starts it, elsewhere; gives its socket."""
    unit = Unit(DEPLOY / "clonepool-tgtd.service")
    folder.mkdir(mode=0o700)
    management = folder / Path(unit.environment["TGT_IPC_SOCKET"]).name
    words = unit.command({"PORTAL": portal})
    words[0] = program(Path(words[0]).name)
    with running(words, log=folder / "log", TGT_IPC_SOCKET=str(management)):
        listening = Path(f"{management}.0")
        wait_for(listening.exists, what="tgtd's socket")
        yield listening


@contextmanager
def disk(attachment: pb.Attachment, folder: Path) -> Iterator[Path]:
    """The attachment's writable volume as a file, by an iSCSI session of its own."""
    connection, mounted = attachment.connection, folder / "disk"
    mounted.touch()
    secret = folder / "chap"
    secret.touch(mode=0o600)
    secret.write_text(attachment.chap_secret)
    source = {
        "driver": "iscsi",
        "node-name": "disk",
        "transport": "tcp",
        "portal": connection.portals[0],
        "target": connection.target,
        "lun": RW_LUN,
        "user": attachment.chap_username,
        "password-secret": "chap",
        "initiator-name": initiator_of(attachment.spec.server),
    }
    words = [
        program("qemu-storage-daemon"),
        *("--object", f"secret,id=chap,file={secret}"),
        *("--blockdev", json.dumps(source)),
        *("--export", f"fuse,id=disk,node-name=disk,mountpoint={mounted},writable=on"),
    ]
    with running(words, log=folder / "qemu.log") as process:
        try:
            wait_for(
                lambda: os.path.ismount(mounted) or process.poll() is not None,
                what="the disk's file",
            )
            assert process.poll() is None, (folder / "qemu.log").read_text()
            yield mounted
        finally:
            # in good order, so that the mount goes with it
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
    assert not os.path.ismount(mounted)


@contextmanager
def load(target: Path, folder: Path) -> Iterator[Callable[[], dict[str, object]]]:
    """fio at work on a disk; call what it gives for the end and its report."""
    report = folder / "fio.json"
    words = [
        *(program("fio"), "--name=server", f"--filename={target}", "--rw=randrw", "--bs=4k"),
        *(f"--size={target.stat().st_size}", "--ioengine=psync", "--fsync=16"),
        *("--verify=crc32c", "--verify_backlog=256", "--verify_fatal=1"),
        *("--time_based", f"--runtime={RUN_S}s", f"--max_latency={LONGEST}"),
        *("--output-format=json", f"--output={report}"),
    ]
    with running(words, log=folder / "fio.log") as process:

        def finish() -> dict[str, object]:
            code = process.wait(timeout=RUN_S + 60)
            assert 0 == code, (folder / "fio.log").read_text() + report.read_text()
            found: dict[str, object] = json.loads(report.read_text())["jobs"][0]
            return found

        yield finish


def test_io_goes_on_without_an_error_through_stops_kills_and_starts(
    open_site: OpenSite, tmp_path: Path
) -> None:
    portal = free_portal()
    with tgtd_unit(tmp_path / "tgtd", portal) as management:
        fabric = f'[fabrics.iscsi]\nsocket = "{management}"\nadvertise = "{portal}"\n'
        site: Site = open_site(settings=fabric)
        attachment = site.attach(site.pool(site.image(system_user=CUSTOMER)))
        with disk(attachment, tmp_path) as path, load(path, tmp_path) as finish:
            began, restarts = time.monotonic(), 0
            while time.monotonic() - began < RUN_S - 4:
                for end in (site.engine.stop, site.engine.kill):
                    end()
                    site.engine.start()
                    restarts += 1
                    assert "attached" == site.attachment(attachment.id).state
            job = finish()
        site.release(attachment)
    assert restarts >= 2
    assert 0 == job["error"]
    for kind in ("read", "write"):
        assert job[kind]["total_ios"] > 100  # type: ignore[index]
