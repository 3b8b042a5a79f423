"""The connection to a Ceph cluster: made when it is first needed, made anew when it is cut off."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from clonepool.backends.base import Space
from clonepool.backends.rbd_bindings import Bindings, load_bindings
from clonepool.backends.rbd_errors import AWAY, FENCED, to_kind, unanswered
from clonepool.backends.rbd_watchdog import StillWaiting, Watchdog
from clonepool.errors import ClonepoolError, PermissionDenied, Unavailable

# how long a dead client stays shut out: longer than anything of it can be on its way
_FENCE_S: Final = 3600
_REQUESTS: Final = 2


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where a cluster is and who we are there. ``keyring`` "": as the configuration says."""

    conf: Path
    client: str
    keyring: str
    pool: str
    mon_timeout_s: float
    osd_timeout_s: float

    def __str__(self) -> str:
        return f"Ceph pool {self.pool} ({self.conf})"

    def options(self) -> Mapping[str, str]:
        """What is set on top of the configuration file."""
        # whole seconds are all that it takes
        mon_timeout = str(math.ceil(self.mon_timeout_s))
        keyring = {"keyring": self.keyring} if self.keyring else {}
        return {
            **keyring,
            # the arguments of connect() and mon_command() are ignored: these three count
            "client_mount_timeout": mon_timeout,
            "rados_mon_op_timeout": mon_timeout,
            "rados_osd_op_timeout": str(math.ceil(self.osd_timeout_s)),
            # with the cache, a write that timed out is lost while flush() says that all is well
            "rbd_cache": "false",
            # clones of the second kind need no protected snapshot
            "rbd_default_clone_format": "2",
            # by default discards that fill no whole 64 KiB are left out without a word
            "rbd_skip_partial_discard": "false",
            # what goes wrong is raised; librbd's own words would be all over the engine's log
            "log_to_stderr": "false",
            "err_to_stderr": "false",
        }


@dataclass(kw_only=True, eq=False)
class _Link:
    """One connection, and how many pieces of work are on it.

    ``suspect``: an OSD gave it no answer. Then it may never get one again: a client of 16.2 can
    miss that a placement group which it was told to wait for is back.
    """

    client: Any
    users: int = 0
    suspect: bool = False
    retired: bool = False
    fenced: bool = False


class Cluster:
    """One client of one cluster, shared by all threads.

    Whatever it is asked ends within the time limits of its settings, each step anew: also what
    librbd itself would wait for without an end. Raises
    Unavailable, PermissionDenied, ResourceExhausted; FailedPrecondition without the bindings.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self._connecting = threading.Lock()
        # one request takes osd_timeout at most, and a call is several of them
        limit_s = _REQUESTS * settings.osd_timeout_s + settings.mon_timeout_s
        self.watchdog = Watchdog(limit_s=limit_s)
        self._counting = threading.Lock()
        self._link: _Link | None = None
        # attempts so far, and the error of the last one where it failed
        self._attempts = 0
        self._error: ClonepoolError | None = None

    @property
    def bindings(self) -> Bindings:
        """The modules, loaded on use."""
        return load_bindings()

    @contextmanager
    def work(self, *, doing: str, namespace: str = "") -> Iterator[Any]:
        """An ioctx of the pool, for one piece of work; errors inside become kinds."""
        with (
            self._using(doing, asks_osds=True) as client,
            self._pool(client, doing=doing) as ioctx,
        ):
            ioctx.set_namespace(namespace)
            yield ioctx

    def ask(self, prefix: str, *, doing: str, **arguments: object) -> Any:
        """The monitors' answer to a command, parsed."""
        with self._using(doing) as client:
            request = json.dumps({"prefix": prefix, "format": "json", **arguments})
            code, answer, text = client.mon_command(request, b"")
            if code != 0:
                raise self._refused(code, text, doing=doing)
            return json.loads(answer)

    def space(self) -> Space:
        """Logical bytes, copies counted once: what the pool may still take, and with what it has.

        Raises Unavailable where the cluster knows no figures.
        """
        doing = "reading the free space"
        pool = self.settings.pool
        with self.work(doing=doing):
            pass  # a pool that is not there is told as that, not as one without figures
        answer = self.ask("df", doing=doing, detail="detail")
        stats = next((each["stats"] for each in answer["pools"] if each["name"] == pool), None)
        if stats is None or answer["stats"]["total_bytes"] == 0:
            raise Unavailable(
                f"{doing}: {self.settings} knows no figures of its space; they come from the "
                "cluster's manager (ceph-mgr), start one",
                reason="STORAGE_NO_FIGURES",
                retry_after_s=5.0,
            )
        used_bytes, free_bytes = int(stats["stored"]), int(stats["max_avail"])
        quota_bytes = int(stats.get("quota_bytes", 0))
        if quota_bytes:
            free_bytes = max(0, min(free_bytes, quota_bytes - used_bytes))
        return Space(total_bytes=used_bytes + free_bytes, free_bytes=free_bytes)

    def fence(self, address: str, *, doing: str) -> None:
        """Shut a client out, now and for an hour: nothing that it sent may still be written."""
        with self._using(doing) as client:
            client.blocklist_add(address, _FENCE_S)
            # an OSD learns of it at the latest by the next request of who knows
            client.wait_for_latest_osdmap()

    def own_id(self, *, doing: str) -> int:
        """What watchers of ours are known by."""
        with self._using(doing) as client:
            return int(client.get_instance_id())

    def start_over(self, *, doing: str) -> NoReturn:
        """Let go of the connection, to be fenced; raises Unavailable, to be repeated by a new one.

        A call that the cluster did not answer may have left something of ours open there, which
        nothing else can close.
        """
        link = self._link
        if link is not None:
            self._retire(link)
        raise Unavailable(
            f"{doing}: {self.settings} still held what a call without an answer had left open; it "
            "is let go of, try again",
            reason=FENCED,
            retry_after_s=1.0,
        )

    @property
    def calls(self) -> Any:
        """The bindings' calls that are about no open image, each with an end."""
        return self.watchdog.wrap(self.bindings.rbd.RBD())

    def image(
        self, ioctx: Any, name: str, *, snapshot: str | None = None, read_only: bool = False
    ) -> AbstractContextManager[Any]:
        """An open image, each call of which has an end."""
        image = self.bindings.rbd.Image
        return self.watchdog.opened(
            lambda: image(ioctx, name, snapshot=snapshot, read_only=read_only)
        )

    @contextmanager
    def _using(self, doing: str, *, asks_osds: bool = False) -> Iterator[Any]:
        """The connection; one that was shut out is let go of, for the next call to make another."""
        link = self._connected(doing)
        with self._counting:
            link.users += 1
        try:
            with self._kinds(doing):
                yield link.client
        except StillWaiting:
            self._retire(link)
            raise unanswered(doing=doing, where=str(self.settings)) from None
        except Unavailable as error:
            if error.reason == FENCED:
                self._forget(link)
            link.suspect = link.suspect or (asks_osds and error.reason == AWAY)
            raise
        finally:
            self._leave(link)

    def _retire(self, link: _Link) -> None:
        link.retired = True
        self._forget(link)

    def _forget(self, link: _Link) -> None:
        if self._link is link:
            self._link = None

    def _leave(self, link: _Link) -> None:
        with self._counting:
            link.users -= 1
        self._fence_if_left(link)

    def _fence_if_left(self, link: _Link) -> None:
        """Whoever is the last on a retired connection fences it: then nothing of it is held."""
        with self._counting:
            ours_to_fence = link.retired and link.users == 0 and not link.fenced
            link.fenced = link.fenced or ours_to_fence
        if ours_to_fence:
            # without it the cluster itself lets go 30 s after the connection's end
            with suppress(ClonepoolError):
                self.fence(link.client.get_addrs(), doing="fencing a connection that was let go of")

    def _connected(self, doing: str) -> _Link:
        link, seen = self._link, self._attempts
        if link is not None and not link.suspect:
            return link
        with self._connecting:
            before = self._link
            if before is not None and not before.suspect:
                return before
            # somebody else has just waited in vain: to wait again would be twice the limit
            if before is None and self._attempts != seen and self._error is not None:
                raise self._error
            self._attempts += 1
            link = self._renewed(before, doing=doing)
        if before is not None and before is not link:
            before.retired = True
            self._fence_if_left(before)
        return link

    def _renewed(self, before: _Link | None, *, doing: str) -> _Link:
        """A new connection; without monitors the one before, which is better than none."""
        try:
            with self._kinds(doing):
                link = _Link(client=self._connect())
        except ClonepoolError as error:
            if before is None:
                self._error = error
                raise
            before.suspect = False
            return before
        self._link, self._error = link, None
        return link

    def _connect(self) -> Any:
        settings, rados = self.settings, self.bindings.rados
        if not settings.conf.is_file():
            raise Unavailable(
                f"{settings.conf}, the configuration of a Ceph cluster, is not there; put it "
                "there, or name another one in option conf",
                reason="NO_CEPH_CONF",
            )
        client = rados.Rados(
            conffile=str(settings.conf),
            name=f"client.{settings.client}",
            conf=dict(settings.options()),
        )
        try:
            client.connect()
        except rados.ObjectNotFound:
            raise PermissionDenied(
                f"no key of client.{settings.client} is in the keyring that {settings.conf} or "
                "option keyring names; put it there (ceph auth get), readable for the engine's "
                "user only",
                reason="NO_CEPH_KEY",
            ) from None
        return client

    @contextmanager
    def _pool(self, client: Any, *, doing: str) -> Iterator[Any]:
        try:
            ioctx = client.open_ioctx(self.settings.pool)
        except self.bindings.rados.ObjectNotFound:
            raise Unavailable(
                f"{doing}: the cluster of {self.settings.conf} has no pool {self.settings.pool}; "
                "make it (docs/ceph.md), or name another one in option pool",
                reason="NO_POOL",
            ) from None
        try:
            yield ioctx
        finally:
            ioctx.close()

    @contextmanager
    def _kinds(self, doing: str) -> Iterator[None]:
        bindings = self.bindings
        try:
            yield
        except (bindings.rados.Error, bindings.rbd.Error) as error:
            raise self._kind(error, doing) from error

    def _kind(self, error: Exception, doing: str) -> ClonepoolError:
        settings = self.settings
        return to_kind(error, doing=doing, where=str(settings), client=settings.client)

    def _refused(self, code: int, text: str, *, doing: str) -> ClonepoolError:
        error = self.bindings.rados.OSError(text or "the monitors refuse", errno=-code)
        return self._kind(error, doing)
