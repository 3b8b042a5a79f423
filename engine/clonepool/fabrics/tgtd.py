"""The tgtd behind the iSCSI fabric: one that we start and supervise, or one that runs already."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.errors import FailedPrecondition, Unavailable
from clonepool.fabrics.processes import Process, boot_id
from clonepool.fabrics.tgt import Tgt, TgtAway, TgtError
from clonepool.fabrics.tgt_show import parse_portals

_START_TIMEOUT_S: Final = 15.0
_STOP_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.01
_LOG_LIMIT_BYTES: Final = 8 * 2**20
_LOG_TAIL_BYTES: Final = 600
# a LUN holds a descriptor, a session another: room for 4,000 targets and their servers
_WANTED_DESCRIPTORS: Final = 65536
# the descriptor of the socket's folder in the daemon: a socket's path may have 107 bytes only,
# a state folder's may be longer
_FOLDER_DESCRIPTOR: Final = 3


@dataclass(frozen=True, kw_only=True)
class RunningTgtd:
    """A tgtd that answers. ``incarnation`` is never the same for two of them."""

    address: str
    pid: int
    incarnation: str


class TgtdSource(ABC):
    """Where the fabric's tgtd comes from. Thread-safe."""

    @abstractmethod
    def ensure(self) -> RunningTgtd:
        """The tgtd that runs now; microseconds when it is the one of the last call.

        Raises Unavailable when none can be had for now, FailedPrecondition with the way out when
        that will not change by itself.
        """

    @abstractmethod
    def portals(self) -> tuple[str, ...]:
        """The ``address:port`` that it listens on."""

    @abstractmethod
    def stop(self) -> None:
        """End it, where it is ours; its targets must be gone."""

    def close(self) -> None:  # noqa: B027 - a tgtd that isn't ours leaves nothing to let go of
        """Let go of descriptors; the daemon runs on."""


class ForeignTgtd(TgtdSource):
    """A tgtd that somebody else runs, such as the distribution's service."""

    def __init__(self, *, socket_path: Path, portals: tuple[str, ...]) -> None:
        self._address = str(socket_path)
        self._portals = portals

    def ensure(self) -> RunningTgtd:
        """Ask its socket who listens."""
        try:
            pid = Tgt(address=self._address).peer_pid()
        except TgtError:
            raise Unavailable(f"tgtd at {self._address} has no iSCSI driver") from None
        except TgtAway as error:
            raise Unavailable(
                f"{error}; start it, or leave out the option socket to let the engine start one",
                retry_after_s=1.0,
            ) from None
        process = Process.find(pid)
        # in another PID namespace the process can't be seen, but its socket is new at each start
        started = process.start_ticks if process else Path(self._address).stat().st_mtime_ns
        incarnation = f"{boot_id()}/{pid}/{started}"
        return RunningTgtd(address=self._address, pid=pid, incarnation=incarnation)

    def portals(self) -> tuple[str, ...]:
        """As configured: what it listens on may be ``0.0.0.0``."""
        return self._portals

    def stop(self) -> None:
        """It isn't ours to end."""


class OwnTgtd(TgtdSource):
    """A tgtd in a session of its own: it outlives a killed engine, with its servers' sessions.

    ``folder`` (made 0700) holds its socket, log, portal and record. The next engine adopts it
    when process id, start time and boot agree with the record; a dead one is started again. Any
    user may run it, on a port above 1023.
    """

    def __init__(self, *, folder: Path, portal: str, program: str = "tgtd") -> None:
        self._folder = folder
        self._portal = portal
        self._program = program
        self._record = folder / "tgtd.json"
        self._log = folder / "tgtd.log"
        self._guard = threading.Lock()
        self._descriptor = -1
        self._process: Process | None = None
        self._kept_portal = ""

    def ensure(self) -> RunningTgtd:
        """Adopt or start it; see TgtdSource."""
        process = self._process
        if process is None or not process.is_alive():
            with self._guard, self._exclusive():
                process = self._process = self._find() or self._start()
        incarnation = f"{boot_id()}/{process.pid}/{process.start_ticks}"
        return RunningTgtd(address=self._address, pid=process.pid, incarnation=incarnation)

    def portals(self) -> tuple[str, ...]:
        """Its address, with the port that was chosen once and kept."""
        return (self._chosen_portal(),)

    def stop(self) -> None:
        """End it; tgtd takes no notice of SIGTERM, so it is asked to, else killed by process id."""
        with self._guard, self._exclusive():
            process = self._find()
            if process is None:
                return
            with suppress(TgtAway, TgtError):
                Tgt(address=self._address, pid=process.pid).end()
            if not process.wait_gone(timeout_s=_STOP_TIMEOUT_S):
                process.signal(signal.SIGKILL)
                process.wait_gone(timeout_s=_STOP_TIMEOUT_S)
            self._record.unlink(missing_ok=True)
            self._process = None

    def close(self) -> None:
        """Close the folder's descriptor."""
        with self._guard:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor, self._process = -1, None

    @property
    def _address(self) -> str:
        return f"/proc/self/fd/{self._descriptor}/sock.0"

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Of all engines on this folder, one at a time starts or ends the daemon."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)  # tgtd makes its socket 0755
        if self._descriptor < 0:
            self._descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _find(self) -> Process | None:
        """The daemon that an earlier engine left, if it still runs."""
        recorded = self._recorded()
        answering = self._answering()
        if answering is not None and answering != recorded:
            # started by an engine that was killed before it wrote the record: the folder is
            # ours alone, so whoever answers in it is ours
            self._remember(answering)
        found = answering or (recorded if recorded and recorded.is_alive() else None)
        if found is None:
            return None
        self._listen_on_portal(found)
        return found

    def _recorded(self) -> Process | None:
        try:
            record = json.loads(self._record.read_text())
            same_boot = record["boot_id"] == boot_id()
            process = Process(pid=record["pid"], start_ticks=record["start_ticks"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return process if same_boot else None

    def _answering(self) -> Process | None:
        try:
            return Process.find(Tgt(address=self._address).peer_pid())
        except (TgtAway, TgtError):
            return None

    def _remember(self, process: Process) -> None:
        record = {
            "pid": process.pid,
            "start_ticks": process.start_ticks,
            "boot_id": boot_id(),
        }
        _write_aside(self._record, json.dumps(record))

    def _listen_on_portal(self, process: Process) -> None:
        """Follow a changed option ``portal`` without cutting sessions made through the old one."""
        tgt, wanted = Tgt(address=self._address, pid=process.pid), self._chosen_portal()
        try:
            present = parse_portals(tgt.show_portals())
            if wanted not in present:
                tgt.new_portal(portal=wanted)
                for old in present:
                    tgt.delete_portal(portal=old)
        except TgtError as error:
            raise FailedPrecondition(
                f"tgtd {process.pid} can't listen on {wanted} ({error}); free that port, "
                "or change the fabric's option portal"
            ) from None
        except TgtAway as error:
            raise Unavailable(
                f"tgtd {process.pid} runs but does not answer ({error}); if that lasts, end it "
                f"with kill -9 {process.pid}: the engine starts another and exports all again",
                retry_after_s=1.0,
            ) from None

    def _start(self) -> Process:
        program = _find_program(self._program)
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        process = self._await_answer(self._spawn(program))
        self._remember(process)
        return process

    def _spawn(self, program: str) -> int:
        create = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # -t 1: tgtd's default is 16 threads a LUN, and an eighth of the attachments a second
        argv = [program, "-f", "-t", "1", "--iscsi", f"portal={self._chosen_portal()}"]
        pid = os.posix_spawn(
            program,
            argv,
            {
                "PATH": os.defpath,
                "LC_ALL": "C",
                "TGT_IPC_SOCKET": f"/proc/self/fd/{_FOLDER_DESCRIPTOR}/sock",
            },
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._descriptor, _FOLDER_DESCRIPTOR),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), create, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM),
        )
        _raise_descriptor_limit(pid)
        return pid

    def _await_answer(self, pid: int) -> Process:
        deadline = time.monotonic() + _START_TIMEOUT_S
        child = Process.find(pid)
        while time.monotonic() < deadline:
            answering = self._answering()
            if answering and self._listens(answering):
                return answering
            # tgtd runs on without a port that it could not get, of no use to anybody
            if answering or child is None or not child.is_alive():
                break
            time.sleep(_POLL_S)
        if child is not None:
            child.signal(signal.SIGKILL)
            child.wait_gone(timeout_s=_STOP_TIMEOUT_S)
        raise self._start_failed()

    def _listens(self, process: Process) -> bool:
        tgt = Tgt(address=self._address, pid=process.pid)
        return self._chosen_portal() in parse_portals(tgt.show_portals())

    def _start_failed(self) -> FailedPrecondition:
        portal = self._chosen_portal()
        if not self._record.exists() and portal != self._portal:
            # no server knows the chosen port yet: choose another one next time
            (self._folder / "portal").unlink()
            self._kept_portal = ""
        return FailedPrecondition(
            f"tgtd could not start on {portal}; is the port in use? {self._log_tail()} "
            f"(log: {self._log})"
        )

    def _log_tail(self) -> str:
        with suppress(OSError):
            return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return "no log"

    def _chosen_portal(self) -> str:
        """The option ``portal``; port 0 is replaced once by a free one and remembered."""
        if not self._kept_portal:
            address, _, port = self._portal.rpartition(":")
            self._kept_portal = self._portal if port != "0" else self._keep_portal(address)
        return self._kept_portal

    def _keep_portal(self, address: str) -> str:
        kept = self._folder / "portal"
        with suppress(FileNotFoundError):
            known = kept.read_text().strip()
            if known.rpartition(":")[0] == address:
                return known
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        chosen = f"{address}:{_free_port(address)}"
        _write_aside(kept, chosen + "\n")
        return chosen


def _find_program(name: str) -> str:
    # Debian puts tgtd where a normal user's PATH does not look
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise FailedPrecondition(
            "the program tgtd is missing; install the Debian package tgt (apt install tgt), "
            "or name a running tgtd by the fabric's option socket",
            reason="TGTD_MISSING",
        )
    return found


def _free_port(address: str) -> int:
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address.strip("[]"), 0))
        port: int = probe.getsockname()[1]
    return port


def _raise_descriptor_limit(pid: int) -> None:
    """Beyond the hard limit needs a right that a normal user hasn't: then up to it."""
    with suppress(OSError, ValueError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        if 0 <= hard < _WANTED_DESCRIPTORS:
            wanted = (_WANTED_DESCRIPTORS, _WANTED_DESCRIPTORS)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, wanted)


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    aside.replace(path)
