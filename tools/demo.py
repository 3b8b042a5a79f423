#!/usr/bin/env python3
"""Clonepool in a minute, on this machine and in a temporary folder: `make demo`.

A real engine, real volumes, real servers (iSCSI initiators where there are any), driven by Pulumi
where there is one. Exit code 0 when everything was as it should be, 1 with one line when not.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
# run by its path, Python looks for modules beside this file only
sys.path.insert(0, str(ROOT))

from clonepool.api.v1 import engine_pb2 as pb  # noqa: E402
from clonepool.errors import ClonepoolError  # noqa: E402
from clonepool.testing.engine_process import EngineProcess  # noqa: E402
from clonepool.testing.images import make_ext4_image, read_ext4_file  # noqa: E402
from clonepool.testing.initiator import InitiatorError, initiator_available  # noqa: E402
from clonepool.units import format_size  # noqa: E402
from tools import pulumi_cli  # noqa: E402
from tools.demo_infrastructure import (  # noqa: E402
    CommandLine,
    DemoFailed,
    Infrastructure,
    PulumiStack,
    Wanted,
)
from tools.demo_servers import (  # noqa: E402
    BLOCK_BYTES,
    READ_ONLY,
    WRITABLE,
    Server,
    logged_in,
)
from tools.demo_site import DemoSite, scrub_s, wait_for  # noqa: E402

IMAGE_BYTES = 16 * 2**20
SERVERS, THRESHOLD = 3, 3
MARKER_FILE, MARKER = "/srv/state", "this state was in the master image"
MOTD = b"Configured once.\n"
INTERRUPTED = 130
# of the 107 bytes that a Unix socket's path may have
LONGEST_TEMP = 60


@dataclass(kw_only=True)
class Demo:
    """The story, step by step; ``lines`` is what its summary says."""

    site: DemoSite
    infrastructure: Infrastructure
    wanted: Wanted
    marks: dict[str, bytes] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)

    def run(self) -> None:
        """Everything, in order. Raises DemoFailed at the first thing that is not as it should."""
        self._fill()
        acme = self._attach()
        self._use(acme)
        self._release_below_threshold(acme)
        self._release_at_threshold()
        self._attach_to_another_customer()
        self._destroy()

    def _fill(self) -> None:
        step("a master image and a pool of its replicas, no server yet")
        self._apply(self.wanted)
        image, pool = self.infrastructure.names
        info, ready = self.site.info(), self.site.volumes(pool, state="ready")
        check((info.servers, info.attachments) == (0, 0), "there must be no server yet")
        check(len(ready) == SERVERS, f"{len(ready)} replicas are ready, not {SERVERS}")
        sizes = f"{format_size(IMAGE_BYTES)} read-only, {format_size(IMAGE_BYTES)} writable"
        self.tell("master image imported", f"{sizes}, in {self.site.import_s(image):.2f} s")
        kind = self.site.pool(pool).clone_kind
        self.tell(
            "ready before any server",
            f"{len(ready)} replicas ({kind} clones) in {self.site.fill_s(pool):.2f} s, "
            "each exported, nobody admitted",
        )

    def _attach(self) -> Sequence[pb.Attachment]:
        step(f"{SERVERS} servers are allocated to customer {self.wanted.customer}")
        before = len(self.site.attach_ms())
        took_s = self._apply(replace(self.wanted, servers=SERVERS))
        attached = self._attached()
        check(
            len({each.volume_id for each in attached}) == SERVERS,
            "each server must have a volume of its own",
        )
        check(all(each.warm for each in attached), "every replica must have been ready")
        times = ", ".join(f"{ms:.1f}" for ms in self.site.attach_ms()[before:])
        self.tell(
            "attached",
            f"{len(attached)} servers of {self.wanted.customer} in {times} ms each in the engine "
            f"({took_s:.1f} s for the whole {self._verb})",
        )
        return attached

    def _use(self, attached: Sequence[pb.Attachment]) -> None:
        step("each server reads the master's bytes, writes its own, and tries the shared copy")
        seen_bytes, refusals = 0, set()
        for each in attached:
            self.marks[each.volume_id] = secrets.token_hex(16).encode()
            with logged_in(each) as server:
                seen_bytes += self._check_content(server)
                server.write(self.marks[each.volume_id].ljust(BLOCK_BYTES, b"."))
                refusals.add(server.try_to_write_shared())
                check(self._holds(server, READ_ONLY, self.wanted.base), "the shared copy changed")
        check("" not in refusals, "a write to the shared copy must be refused")
        self.tell(
            "read by the servers",
            f"{format_size(seen_bytes)}: the read-only portion byte for byte, {MARKER_FILE} and "
            "the pre-configured /etc/motd in each server's own volume",
        )
        base = self.wanted.base.read_bytes()
        stored = [path for path in self.site.files() if path.read_bytes() == base]
        check(len(stored) == 1, f"the read-only portion is stored {len(stored)} times, not once")
        self.tell("shared copy", f"stored once; writing to it: {'; '.join(sorted(refusals))}")

    def _check_content(self, server: Server) -> int:
        """The number of bytes read, all as in the master image."""
        check(self._holds(server, READ_ONLY, self.wanted.base), "the shared copy differs")
        own = server.read_all(WRITABLE)
        with tempfile.NamedTemporaryFile(dir=self.wanted.data.parent) as dump:
            Path(dump.name).write_bytes(own)
            state = read_ext4_file(Path(dump.name), MARKER_FILE)
            motd = read_ext4_file(Path(dump.name), "/etc/motd")
        check(state == MARKER.encode(), f"{server.name} must read the master's {MARKER_FILE}")
        check(motd == MOTD, f"{server.name} must read the pre-configured /etc/motd")
        found = sum(mark in own for mark in self.marks.values())
        check(not found, f"{server.name} can read what another server wrote")
        return len(own) + IMAGE_BYTES

    @staticmethod
    def _holds(server: Server, role: str, source: Path) -> bool:
        return server.read_all(role) == source.read_bytes()

    def _release_below_threshold(self, attached: Sequence[pb.Attachment]) -> None:
        step(f"{THRESHOLD - 1} of the servers go: one released volume short of the threshold")
        self._apply(replace(self.wanted, servers=SERVERS - THRESHOLD + 1))
        _, pool = self.infrastructure.names
        # fresh replicas in their place show that the engine has seen the releases
        wait_for(lambda: self._ready(pool) == THRESHOLD - 1, what="fresh replicas")
        released = self.site.volumes(pool, state="released")
        check(len(released) == THRESHOLD - 1, f"{len(released)} volumes are released")
        check(not self.site.runs(pool), "nothing may be scrubbed below the threshold")
        gone = {volume.id for volume in released}
        for each in attached:
            if each.volume_id in gone:
                check(not _can_log_in(each), f"{each.server_name} still reaches its volume")
        self.tell(
            "released",
            f"{len(released)} volumes, out of their servers' reach; the threshold is {THRESHOLD}, "
            "so nothing is scrubbed",
        )

    def _release_at_threshold(self) -> None:
        step("the last server goes: the threshold is reached")
        self._apply(replace(self.wanted, servers=0))
        _, pool = self.infrastructure.names
        run = wait_for(lambda: self._finished_run(pool), what="the scrub")
        check((run.scrubbed, run.faulty) == (THRESHOLD, 0), f"{run.scrubbed} volumes were scrubbed")
        self.tell(
            "scrubbed at the threshold",
            f"all {run.scrubbed} by {run.method} in {scrub_s(run):.2f} s, behind the release",
        )
        wait_for(lambda: self._rests(pool), what="the stock to be full again")
        found = [path.name for path in self.site.files() if self._marks_in(path.read_bytes())]
        check(not found, f"a server's bytes are left in {', '.join(found)}")
        self.tell(
            "back in stock",
            f"{SERVERS} ready: {run.recycled} of the scrubbed volumes, and fresh clones that "
            f"filled the stock meanwhile; {run.destroyed} scrubbed ones too many were destroyed",
        )

    def _ready(self, pool: str) -> int:
        return len(self.site.volumes(pool, state="ready"))

    def _finished_run(self, pool: str) -> pb.ScrubRun | None:
        return next((run for run in self.site.runs(pool) if run.state != "running"), None)

    def _rests(self, pool: str) -> bool:
        return [volume.state for volume in self.site.volumes(pool)] == ["ready"] * SERVERS

    def _attach_to_another_customer(self) -> None:
        self.wanted = replace(self.wanted, customer="globex")
        step(f"{SERVERS} servers are allocated to another customer, {self.wanted.customer}")
        self._apply(replace(self.wanted, servers=SERVERS))
        attached = self._attached()
        again = [each for each in attached if each.volume_id in self.marks]
        check(bool(again), "a scrubbed volume must be handed out again")
        seen_bytes = 0
        for each in attached:
            with logged_in(each) as server:
                seen_bytes += self._check_content(server)
        self.tell(
            f"given to {self.wanted.customer}",
            f"{len(attached)} servers, {len(again)} on a scrubbed volume: the master's bytes, and "
            f"none of the {len(self.marks)} marks that acme's servers wrote, in "
            f"{format_size(seen_bytes)}",
        )

    def _destroy(self) -> None:
        step("everything is taken down")
        self.infrastructure.destroy()
        wait_for(lambda: not self.site.info().volumes, what="the volumes to be scrubbed and gone")
        wait_for(lambda: not self.site.files(), what="the storage to be empty")
        self.tell("destroyed", "the last volumes scrubbed, the storage empty")

    def _apply(self, wanted: Wanted) -> float:
        began = time.monotonic()
        self.infrastructure.apply(wanted)
        return time.monotonic() - began

    def _attached(self) -> Sequence[pb.Attachment]:
        names = self.infrastructure.attachments().values()
        return [self.site.attachment(name) for name in names]

    def _marks_in(self, data: bytes) -> int:
        return sum(mark in data for mark in self.marks.values())

    @property
    def _verb(self) -> str:
        return "`pulumi up`" if isinstance(self.infrastructure, PulumiStack) else "command line"

    def tell(self, what: str, text: str) -> None:
        """A line of the summary."""
        self.lines.append((what, text))


def _can_log_in(attachment: pb.Attachment) -> bool:
    try:
        with logged_in(attachment) as server:
            server.read_all(WRITABLE)
    except (InitiatorError, OSError):
        return False
    return True


def step(text: str) -> None:
    """Say what comes next."""
    print(f"  - {text}", flush=True)


def check(condition: bool, text: str) -> None:
    """Go on only if it is so."""
    if not condition:
        raise DemoFailed(text)


def choose_fabric() -> tuple[str, str]:
    """The best fabric there is, and what is left out for want of a better one."""
    lacking = []
    if shutil.which("tgtd") is None:
        lacking.append("tgtd (Debian: tgt)")
    if not initiator_available():
        lacking.append("libiscsi (Debian: libiscsi-bin)")
    if not lacking:
        return "iscsi", ""
    left_out = f"iSCSI: {' and '.join(lacking)} not installed, so volumes were paths on this host"
    return "local", left_out


def choose_infrastructure(*, folder: Path, endpoint: str) -> Infrastructure:
    """Pulumi where there is one, else the command line."""
    found = pulumi_cli.find()
    if found is None:
        return CommandLine(endpoint=endpoint)
    return PulumiStack(pulumi=found / "pulumi", folder=folder / "pulumi", endpoint=endpoint)


def play(folder: Path, engine: EngineProcess) -> Sequence[str]:
    """Run the demo on a started engine; the lines of its summary."""
    fabric, no_iscsi = choose_fabric()
    base, data = folder / "base.img", folder / "data.img"
    make_ext4_image(base, size_bytes=IMAGE_BYTES, files={"/app/version": "1.0\n"}, label="base")
    make_ext4_image(data, size_bytes=IMAGE_BYTES, files={MARKER_FILE: MARKER}, label="data")
    infrastructure = choose_infrastructure(folder=folder, endpoint=engine.endpoint)
    over = "iSCSI (tgtd and libiscsi)" if fabric == "iscsi" else "paths on this host"
    user = "root" if os.geteuid() == 0 else "a normal user"
    print(f"Clonepool over {over}, driven by {infrastructure.title}, as {user}\n")
    with engine.client() as client:
        demo = Demo(
            site=DemoSite(engine=engine, client=client),
            infrastructure=infrastructure,
            wanted=Wanted(base=base, data=data, fabric=fabric),
        )
        demo.run()
    left_out = [text for text in (no_iscsi, infrastructure.left_out) if text]
    return [*_table(demo.lines), *_table([("left out", text) for text in left_out or ["nothing"]])]


def _table(lines: Sequence[tuple[str, str]]) -> Sequence[str]:
    """Two columns, the second one wrapped."""
    gap = " " * 29
    return [
        textwrap.fill(
            text,
            width=100,
            break_on_hyphens=False,
            initial_indent=f"  {what:<27}",
            subsequent_indent=gap,
        )
        for what, text in lines
    ]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes, whatever comes; short, since a Unix socket lies in it."""
    usual = tempfile.gettempdir()
    short = usual if len(usual) <= LONGEST_TEMP else "/tmp"  # noqa: S108 - mkdtemp's is private
    folder = Path(tempfile.mkdtemp(prefix="clonepool-demo-", dir=short))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """End in good order; a second Ctrl-C does not keep it from tidying up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Play it and say how it went."""
    began = time.monotonic()
    # Debian keeps tgtd, mke2fs and debugfs where a normal user's PATH does not look
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        with scratch() as folder, EngineProcess(folder / "e") as engine:
            summary = play(folder, engine)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything it made is gone again", file=sys.stderr)
        return INTERRUPTED
    except (DemoFailed, ClonepoolError, InitiatorError, OSError) as error:
        print(f"\ndemo: failed: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print("\nWhat happened", *summary, sep="\n")
    print(f"\nAll of it was checked; it took {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
