"""OSDs and monitors die under the rbd driver: every call ends, and it goes on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from clonepool.backends.rbd import RbdBackend
from clonepool.backends.rbd_options import RbdOptions
from clonepool.domain.states import CloneMode
from clonepool.errors import ClonepoolError, Unavailable
from clonepool.testing.ceph_cluster import CephCluster
from clonepool.testing.images import make_random_image
from clonepool.testing.rbd_client import RbdClient

from .rbd_cluster import looking

pytestmark = [pytest.mark.ceph, pytest.mark.slow]

IMAGE = "img-web-rw"
SIZE_BYTES = 4 * 2**20
# longer than the cluster takes to notice a dead OSD
OSD_TIMEOUT_S = 10.0
MON_TIMEOUT_S = 4.0
# a call of librbd is left behind after this time; closing what was open may take as long again
LONGEST_S = 2 * (2 * OSD_TIMEOUT_S + MON_TIMEOUT_S)


@pytest.fixture
def options(rbd_options: RbdOptions) -> RbdOptions:
    limits = replace(rbd_options.cluster, osd_timeout_s=OSD_TIMEOUT_S, mon_timeout_s=MON_TIMEOUT_S)
    return replace(rbd_options, cluster=limits)


@pytest.fixture
def whole(ceph: CephCluster) -> Iterator[CephCluster]:
    """The cluster, which is whole again after the test."""
    try:
        yield ceph
    finally:
        ceph.heal()


@pytest.fixture
def backend(whole: CephCluster, options: RbdOptions) -> RbdBackend:
    return RbdBackend(options)


@pytest.fixture
def content(backend: RbdBackend, tmp_path: Path) -> bytes:
    source = make_random_image(tmp_path / "image", size_bytes=SIZE_BYTES, seed=7)
    content = source.read_bytes()
    backend.import_image(name=IMAGE, source=source)
    return content


class Load:
    """Volumes cloned, read and deleted all the time, and what came of each call."""

    def __init__(self, backend: RbdBackend, content: bytes, *, worker: int) -> None:
        self._backend = backend
        self._content = content
        self._worker = worker
        self.longest_s = 0.0
        self.errors: list[ClonepoolError] = []
        self.done = 0
        self.wrong: list[str] = []

    def run(self, stopping: threading.Event) -> None:
        number = 0
        while not stopping.is_set():
            self.round(f"vol-{self._worker}-{number}-g1")
            number += 1

    def round(self, name: str) -> None:
        """One volume's life; whatever fails is repeated by nobody."""
        clone = partial(self._backend.clone, image=IMAGE, name=name, mode=CloneMode.AUTO)
        if self._call(clone):
            self._call(lambda: self._check(name))
        self._call(lambda: self._backend.delete(name=name))

    def _check(self, name: str) -> None:
        if self._backend.read(name=name, offset=0, length=SIZE_BYTES) != self._content:
            self.wrong.append(name)

    def _call(self, verb: Callable[[], object]) -> bool:
        """Whether it succeeded."""
        began = time.monotonic()
        try:
            verb()
            self.done += 1
        except ClonepoolError as error:
            self.errors.append(error)
            return False
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - began)
        return True


class Writer:
    """A server that writes blocks and remembers which the cluster has taken."""

    def __init__(self, client: RbdClient) -> None:
        self._client = client
        self.taken: dict[int, bytes] = {}
        self.failed = 0
        self._next = 0

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            at = (self._next % 256) * 4096
            block = f"block {self._next}".encode().ljust(4096, b".")
            self._next += 1
            try:
                self._client.write_at(at, block)
                self.taken[at] = block
            except OSError:
                # it may or may not be there; the next one says
                self.failed += 1
                self.taken.pop(at, None)


@contextmanager
def running(*parts: Load | Writer) -> Iterator[None]:
    """Each in a thread of its own until the end of the block."""
    stopping = threading.Event()
    threads = [threading.Thread(target=part.run, args=(stopping,), daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(timeout=2 * LONGEST_S)
            assert not thread.is_alive(), "a call hangs"


def await_progress(load: Load, *, calls: int = 6, limit_s: float = 60) -> None:
    """Wait until so many more calls have succeeded: the driver heals by itself."""
    wanted, deadline = load.done + calls, time.monotonic() + limit_s
    while load.done < wanted:
        assert time.monotonic() < deadline, f"no progress: {load.errors[-1:]}"
        time.sleep(0.05)


def repeat(verb: Callable[[], object], *, limit_s: float = 30) -> None:
    """As an engine does with what may pass."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            verb()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def nothing_left_but_the_image(ceph: CephCluster, options: RbdOptions) -> bool:
    """What the interrupted calls left is gone when each is repeated, as an engine does."""
    backend = RbdBackend(options)
    with looking(ceph, f"{options.namespace_prefix}.shared") as shared:
        for name in shared.images() - {IMAGE}:
            repeat(partial(backend.delete, name=name))
        backend.list()
        return shared.images() == {IMAGE} and [] == shared.trash()


def test_the_death_of_one_osd_is_no_error(
    whole: CephCluster, backend: RbdBackend, content: bytes
) -> None:
    load = Load(backend, content, worker=0)
    with running(load):
        await_progress(load)
        whole.kill(whole.osds[0])
        await_progress(load, calls=12)
    assert ([], []) == (load.errors, load.wrong)
    assert load.longest_s < OSD_TIMEOUT_S


def test_an_osd_that_is_stopped_is_left_out_in_time(
    whole: CephCluster, backend: RbdBackend, content: bytes
) -> None:
    load = Load(backend, content, worker=0)
    with running(load):
        await_progress(load)
        whole.pause(whole.osds[1])
        await_progress(load, calls=12)
    assert [] == load.wrong
    assert load.longest_s < LONGEST_S


def test_two_of_three_osds_die_and_come_back_and_no_write_is_lost(
    whole: CephCluster, backend: RbdBackend, options: RbdOptions, content: bytes
) -> None:
    backend.clone(image=IMAGE, name="vol-server-g1", mode=CloneMode.AUTO)
    server = RbdClient(backend.location(name="vol-server-g1"))
    loads = [Load(backend, content, worker=worker) for worker in range(3)]
    writer = Writer(server)
    with running(*loads, writer):
        await_progress(loads[0])
        for name in whole.osds[:2]:
            whole.kill(name)
        for load in loads:
            await_error(load)
        whole.heal()
        for load in loads:
            await_progress(load)
    assert all([] == load.wrong for load in loads)
    errors = {type(error) for load in loads for error in load.errors}
    assert {Unavailable} == errors
    assert max(load.longest_s for load in loads) < LONGEST_S
    for at, block in writer.taken.items():
        assert block == backend.read(name="vol-server-g1", offset=at, length=len(block))
    server.close()
    backend.delete(name="vol-server-g1")
    assert nothing_left_but_the_image(whole, options)


def await_error(load: Load) -> None:
    deadline = time.monotonic() + LONGEST_S + 5
    while not load.errors:
        assert time.monotonic() < deadline, "a call hangs"
        time.sleep(0.05)


def test_an_import_that_was_cut_off_is_made_anew(
    whole: CephCluster, backend: RbdBackend, content: bytes, tmp_path: Path
) -> None:
    source = make_random_image(tmp_path / "large", size_bytes=64 * 2**20, seed=8)
    wanted = source.read_bytes()
    killed = threading.Event()

    def kill_in_the_middle(done_bytes: int) -> None:
        if done_bytes > 2**24 and not killed.is_set():
            killed.set()
            for name in whole.osds[:2]:
                whole.kill(name)

    with pytest.raises(Unavailable, match="no answer in time"):
        backend.import_image(name="img-b", source=source, progress=kill_in_the_middle)
    whole.heal()
    assert [IMAGE] == [found.name for found in backend.list()]
    repeat(lambda: backend.import_image(name="img-b", source=source))
    assert wanted == backend.read(name="img-b", offset=0, length=len(wanted))


def test_without_a_monitor_clones_go_on_and_what_needs_it_ends_in_time(
    whole: CephCluster, options: RbdOptions, content: bytes
) -> None:
    backend = RbdBackend(replace(options, clones_per_snapshot=4))
    load = Load(backend, content, worker=0)
    load.round("vol-first-g1")
    whole.kill("mon.a")
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no answer in time"):
        backend.space()
    assert time.monotonic() - began < MON_TIMEOUT_S + 3
    # the fourth clone would have a fresh snapshot, which needs a monitor: the old one serves
    for number in range(8):
        load.round(f"vol-{number}-g1")
    assert ([], []) == (load.errors, load.wrong)
    assert load.longest_s < LONGEST_S
    whole.heal()
    assert 0 < backend.space().free_bytes


def test_a_cluster_that_is_away_at_the_start_is_found_when_it_comes(
    whole: CephCluster, options: RbdOptions, content: bytes
) -> None:
    whole.kill("mon.a")
    backend = RbdBackend(options)
    began = time.monotonic()

    def ask(_number: int) -> str:
        try:
            backend.stat(name=IMAGE)
        except Unavailable as error:
            return error.reason
        return "answered"

    with ThreadPoolExecutor(max_workers=8) as threads:
        assert ["STORAGE_AWAY"] * 8 == list(threads.map(ask, range(8)))
    # all waited for the same attempt to connect
    assert time.monotonic() - began < 2 * MON_TIMEOUT_S + 2
    whole.heal()
    deadline = time.monotonic() + 30
    while ask(0) != "answered":
        assert time.monotonic() < deadline
    with suppress(ClonepoolError):
        backend.delete(name="absent")
    assert content == backend.read(name=IMAGE, offset=0, length=SIZE_BYTES)
