"""A real Ceph cluster on the loopback address: monitor, manager, OSDs, in a folder, by process id.

No systemd, nothing outside the folder; it can be broken on purpose, one daemon at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from clonepool import commands
from clonepool.backends.rbd_bindings import Bindings, load_bindings
from clonepool.errors import FailedPrecondition
from clonepool.testing.ceph_files import Layout, write_conf, write_keyrings
from clonepool.testing.interrupts import undisturbed

POOL: Final = "clonepool"
_MODULES: Final = Path("/usr/share/ceph/mgr")
_MANAGER_MODULE: Final = "mgr_module.py"
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.02
_GIB: Final = 2**30
_ADMIN_TIMEOUTS: Final = {
    "client_mount_timeout": "20",
    "rados_mon_op_timeout": "20",
    "rados_osd_op_timeout": "20",
}


class CephCluster:
    """One cluster in ``folder``, which must be empty and short: sockets lie in it.

    With three OSDs or more, pools have three copies and stay writable with two; with fewer, one.
    ``store`` memstore starts quicker, and forgets all when its daemon is killed. Use it in
    ``with``.
    """

    def __init__(self, folder: Path, *, osds: int = 1, store: str = "bluestore") -> None:
        self._folder = folder
        ports = _free_ports()
        self._layout = Layout(
            fsid=str(uuid.uuid4()), osds=osds, store=store, ports=ports, size_bytes=20 * _GIB
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.conf = folder / "ceph.conf"

    def __enter__(self) -> CephCluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def osds(self) -> Sequence[str]:
        """The names of its OSDs."""
        return tuple(f"osd.{number}" for number in range(self._layout.osds))

    def start(self) -> None:
        """Make and start it, with the pool ``clonepool``; returns when a write was acknowledged."""
        for name in ("run", "log", "crash", "modules", "mon.a", "mgr.x", *self.osds):
            (self._folder / name).mkdir(parents=True)
        # all that it must import; the rest of its modules would cost seconds
        (self._folder / "modules" / _MANAGER_MODULE).symlink_to(_MODULES / _MANAGER_MODULE)
        write_conf(self._folder, self._layout)
        keyring = write_keyrings(self._folder, osds=self._layout.osds)
        ids = [str(uuid.uuid4()) for _ in self.osds]
        # an OSD's store needs no monitor: all are made while that one starts
        making = [self._make_osd(number, osd_id) for number, osd_id in enumerate(ids)]
        self._make_monitor(keyring)
        self.revive("mon.a")
        with self.admin() as admin:
            self.revive("mgr.x")
            for number, osd_id in enumerate(ids):
                admin.mon("osd new", uuid=osd_id, id=number)
            for name, process in zip(self.osds, making, strict=True):
                self._must_succeed(name, process)
                self.revive(name)
            self.await_osds(self._layout.osds, admin=admin)
            # clones of the second kind, which need no protected snapshot
            admin.mon("osd set-require-min-compat-client", version="mimic")
            admin.create_pool(POOL)
            self._await_figures(admin)

    def admin(self) -> Admin:
        """A connection with every right, to be closed."""
        return Admin(conf=self.conf, bindings=load_bindings())

    def client(self, name: str, capabilities: Mapping[str, str]) -> Path:
        """Make a cephx client with these capabilities; gives its keyring's file."""
        caps = [part for pair in capabilities.items() for part in pair]
        with self.admin() as admin:
            made = admin.mon("auth get-or-create", entity=f"client.{name}", caps=caps)
        path = self._folder / f"keyring.client.{name}"
        path.touch(mode=0o600)
        path.write_text(f"[client.{name}]\n\tkey = {made[0]['key']}\n")
        return path

    def pid(self, daemon: str) -> int:
        """The process id of ``mon.a`` or ``osd.N``."""
        return self._processes[daemon].pid

    def kill(self, daemon: str) -> None:
        """End one daemon at once, as a power cut does."""
        process = self._processes.pop(daemon)
        process.kill()
        process.wait()

    def pause(self, daemon: str) -> None:
        """Stop one daemon, which keeps its connections."""
        os.kill(self.pid(daemon), signal.SIGSTOP)

    def resume(self, daemon: str) -> None:
        """Let a paused daemon go on."""
        os.kill(self.pid(daemon), signal.SIGCONT)

    def revive(self, daemon: str) -> None:
        """Start a daemon that does not run; does not wait for it."""
        if daemon in self._processes:
            return
        kind, _, number = daemon.partition(".")
        argv = [f"ceph-{kind}", "-f", "-i", number, "-c", str(self.conf)]
        self._processes[daemon] = self._spawn(argv, log=f"{daemon}.out")

    def heal(self) -> None:
        """Start and let go on whatever was killed or paused, and wait until all OSDs are up."""
        dead = [name for name in self.osds if name not in self._processes]
        self.revive("mon.a")
        self.resume("mon.a")
        with self.admin() as admin:
            epoch = admin.mon("osd dump")["epoch"]
            for name in self.osds:
                self.revive(name)
                self.resume(name)
            # the monitor may not have noticed yet that one was dead
            self._await(admin, lambda osds: all(osds[name]["up_from"] > epoch for name in dead))
            self.await_osds(self._layout.osds, admin=admin)

    def await_osds(self, count: int, *, admin: Admin) -> None:
        """Wait until exactly so many OSDs are up. Raises FailedPrecondition."""
        self._await(admin, lambda osds: sum(osd["up"] for osd in osds.values()) == count)

    def close(self) -> None:
        """End every daemon, the monitor last: an OSD tells it that it goes."""
        for prefix in ("osd", "mgr", "mon"):
            names = [name for name in self._processes if name.startswith(prefix)]
            ending = [self._processes.pop(name) for name in names]
            for process in ending:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            for process in ending:
                try:
                    process.wait(timeout=_STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _await(self, admin: Admin, is_so: Callable[[Mapping[str, Any]], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_so(osds := admin.osds()):
            if time.monotonic() > deadline:
                up = [name for name, osd in osds.items() if osd["up"]]
                raise FailedPrecondition(f"only {up} are up; see {self._folder}/log")
            time.sleep(_POLL_S)

    def _await_figures(self, admin: Admin) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while admin.mon("df")["stats"]["total_bytes"] == 0:
            if time.monotonic() > deadline:
                raise FailedPrecondition(f"no figures from the manager; see {self._folder}/log")
            time.sleep(_POLL_S)

    def _make_osd(self, number: int, osd_id: str) -> subprocess.Popen[bytes]:
        keyring = self._folder / f"keyring.osd.{number}"
        shutil.copy(keyring, self._folder / f"osd.{number}" / "keyring")
        argv = ["ceph-osd", "--mkfs", "--no-mon-config", "-i", str(number)]
        argv += ["--osd-uuid", osd_id, "-c", str(self.conf)]
        return self._spawn(argv, log=f"osd.{number}.mkfs")

    def _make_monitor(self, keyring: Path) -> None:
        layout, monmap = self._layout, str(self._folder / "monmap")
        make_map = ["monmaptool", "--create", "--clobber", "--fsid", layout.fsid]
        commands.run([*make_map, "--addv", "a", layout.monitors, monmap], timeout_s=30)
        make = ["ceph-mon", "--mkfs", "-i", "a", "-c", str(self.conf), "--monmap", monmap]
        commands.run([*make, "--keyring", str(keyring)], timeout_s=30)

    def _spawn(self, argv: Sequence[str], *, log: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log" / log).open("ab") as out, undisturbed() as deliver_interrupt:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        deliver_interrupt()
        return process

    def _must_succeed(self, name: str, process: subprocess.Popen[bytes]) -> None:
        if process.wait(timeout=_START_TIMEOUT_S) != 0:
            text = (self._folder / "log" / f"{name}.mkfs").read_text()
            raise FailedPrecondition(f"{name} could not be made: {text}")


class Admin:
    """A client.admin of a cluster; use it in ``with``."""

    def __init__(self, *, conf: Path, bindings: Bindings) -> None:
        self.rados: Any = bindings.rados.Rados(
            conffile=str(conf), name="client.admin", conf=_ADMIN_TIMEOUTS
        )
        self.rados.connect()

    def __enter__(self) -> Admin:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rados.shutdown()

    def mon(self, prefix: str, **arguments: object) -> Any:
        """Ask the monitor. Raises FailedPrecondition with its answer where it refuses."""
        request = json.dumps({"prefix": prefix, "format": "json", **arguments})
        code, answer, text = self.rados.mon_command(request, b"")
        if code != 0:
            raise FailedPrecondition(f"ceph {prefix}: {text or os.strerror(-code)}")
        return json.loads(answer) if answer.strip() else None

    def osds(self) -> Mapping[str, Any]:
        """Each OSD as the monitor knows it."""
        return {f"osd.{osd['osd']}": osd for osd in self.mon("osd dump")["osds"]}

    def create_pool(self, name: str) -> None:
        """A pool for RBD that takes writes."""
        self.mon("osd pool create", pool=name, pg_num=8)
        self.mon("osd pool application enable", pool=name, app="rbd")
        with self.rados.open_ioctx(name) as ioctx:
            ioctx.write_full("probe", b"x")
            ioctx.remove_object("probe")


def _free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on now."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
