"""The rbd driver on a real cluster, beyond what every driver must do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from clonepool.backends.rbd import RbdBackend
from clonepool.backends.rbd_options import RbdOptions
from clonepool.domain.location import RbdImage
from clonepool.domain.model import SystemUser
from clonepool.domain.states import CloneMode, ScrubMethod, SystemUserKind
from clonepool.errors import NotFound, Unavailable
from clonepool.testing.ceph_cluster import POOL, CephCluster
from clonepool.testing.images import make_random_image
from clonepool.testing.rbd_client import RbdClient

from .rbd_cluster import Look, looking

pytestmark = pytest.mark.ceph

MIB = 2**20
IMAGE = "img-web-rw"
ACME = SystemUser(name="acme", kind=SystemUserKind.CUSTOMER)
SHOP = SystemUser(name="The Shop", kind=SystemUserKind.APPLICATION)
# what a server does that dies: it has the image open and writes to it until it is killed
_SERVER = (
    "import json, sys, time\n"
    "from pathlib import Path\n"
    "from clonepool.domain.location import RbdImage\n"
    "from clonepool.testing.rbd_client import RbdClient\n"
    "told = json.loads(sys.argv[1])\n"
    "client = RbdClient(RbdImage(**{**told, 'conf': Path(told['conf'])}))\n"
    "client.write_at(0, b'first')\n"
    "print('open', flush=True)\n"
    "sys.stdin.readline()\n"
    "try:\n"
    "    client.write_at(0, b'late.')\n"
    "    print('written', flush=True)\n"
    "except OSError:\n"
    "    print('refused', flush=True)\n"
)


@pytest.fixture
def backend(rbd_options: RbdOptions) -> RbdBackend:
    return RbdBackend(rbd_options)


@pytest.fixture
def shared(ceph: CephCluster, rbd_options: RbdOptions) -> Iterator[Look]:
    """The namespace of shared images, as an administrator sees it."""
    with looking(ceph, f"{rbd_options.namespace_prefix}.shared") as look:
        yield look


@pytest.fixture
def content(backend: RbdBackend, tmp_path: Path) -> bytes:
    """The bytes of the shared image IMAGE."""
    source = make_random_image(tmp_path / "image", size_bytes=5 * MIB, seed=3)
    content = source.read_bytes()
    backend.import_image(name=IMAGE, source=source)
    return content


def clone(backend: RbdBackend, name: str) -> CloneMode:
    return backend.clone(image=IMAGE, name=name, mode=CloneMode.AUTO)


def clone_and_delete(backend: RbdBackend, number: int) -> None:
    clone(backend, f"vol-{number}-g1")
    backend.delete(name=f"vol-{number}-g1")


def names(backend: RbdBackend) -> set[str]:
    return {found.name for found in backend.list()}


def read_all(backend: RbdBackend, name: str) -> bytes:
    return backend.read(name=name, offset=0, length=backend.stat(name=name).size_bytes)


@contextmanager
def server_of(location: RbdImage) -> Iterator[subprocess.Popen[str]]:
    """A process that has the image open for writing."""
    told = {key: str(value) for key, value in vars(location).items() if key != "kind"}
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, json.dumps(told)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "open\n" == process.stdout.readline()
            yield process
        finally:
            process.kill()


# --- namespaces


def test_each_system_user_has_a_namespace_and_so_have_shared_images(
    ceph: CephCluster, backend: RbdBackend, rbd_options: RbdOptions, tmp_path: Path
) -> None:
    wanted = {"acme-img": ACME, "shop-img": SHOP, "all-img": None}
    for name, system_user in wanted.items():
        source = make_random_image(tmp_path / name, size_bytes=MIB)
        backend.import_image(name=name, source=source, system_user=system_user)
        backend.clone(image=name, name=f"{name}-vol", mode=CloneMode.AUTO)
    found = {name: backend.location(name=name).namespace for name in wanted}
    assert found == {name: backend.location(name=f"{name}-vol").namespace for name in wanted}
    prefix = rbd_options.namespace_prefix
    assert (f"{prefix}.customer.acme", f"{prefix}.shared") == (found["acme-img"], found["all-img"])
    assert found["shop-img"].startswith(f"{prefix}.application.the-shop_")
    assert 6 == len(names(backend))
    with looking(ceph, found["acme-img"]) as acme:
        assert {"acme-img", "acme-img-vol"} == acme.images()


def test_an_engine_that_starts_finds_every_object_again(
    backend: RbdBackend, rbd_options: RbdOptions, content: bytes
) -> None:
    clone(backend, "vol-a-g1")
    again = RbdBackend(rbd_options)
    assert content == read_all(again, "vol-a-g1")
    again.delete(name="vol-a-g1")
    assert {IMAGE} == names(again) == names(backend)


def test_two_engines_with_prefixes_of_their_own_share_a_pool_and_see_no_more(
    backend: RbdBackend, rbd_options: RbdOptions, content: bytes
) -> None:
    other = RbdBackend(replace(rbd_options, namespace_prefix=rbd_options.namespace_prefix + "0"))
    assert set() == names(other)
    other.delete(name=IMAGE)
    assert content == read_all(backend, IMAGE)


# --- what is whole, and what is not


def test_a_blank_image_without_a_parent_is_not_there_and_is_made_anew(
    backend: RbdBackend, shared: Look, content: bytes
) -> None:
    shared.make_blank("vol-a-g1", size_bytes=len(content))
    assert {IMAGE} == names(backend)
    with pytest.raises(NotFound):
        backend.stat(name="vol-a-g1")
    assert CloneMode.THIN == clone(backend, "vol-a-g1")
    assert (IMAGE, content) == (shared.parent("vol-a-g1"), read_all(backend, "vol-a-g1"))


def test_a_clone_without_our_mark_is_made_anew_though_it_has_its_parent(
    backend: RbdBackend, shared: Look, content: bytes
) -> None:
    shared.calls.clone(shared.ioctx, IMAGE, "master", shared.ioctx, "vol-a-g1")
    with shared.rbd.Image(shared.ioctx, "vol-a-g1") as image:
        image.write(b"somebody's", 0)
    clone(backend, "vol-a-g1")
    assert content == read_all(backend, "vol-a-g1")


def test_an_image_that_can_t_be_opened_is_made_anew_and_deleted(
    backend: RbdBackend, shared: Look, content: bytes
) -> None:
    for name in ("vol-a-g1", "vol-b-g1"):
        shared.make_unopenable(name)
    clone(backend, "vol-a-g1")
    backend.delete(name="vol-b-g1")
    assert content == read_all(backend, "vol-a-g1")
    assert {IMAGE, "vol-a-g1"} == shared.images()


def test_a_half_made_import_is_made_anew(
    backend: RbdBackend, shared: Look, content: bytes, tmp_path: Path
) -> None:
    shared.make_blank("img-b", size_bytes=MIB)
    with shared.rbd.Image(shared.ioctx, "img-b") as image:
        image.create_snap("master")
    source = make_random_image(tmp_path / "b", size_bytes=2 * MIB)
    wanted = source.read_bytes()
    backend.import_image(name="img-b", source=source)
    assert wanted == read_all(backend, "img-b")


def test_what_was_taken_away_behind_our_back_is_not_there(
    backend: RbdBackend, shared: Look, content: bytes
) -> None:
    clone(backend, "vol-a-g1")
    shared.calls.remove(shared.ioctx, "vol-a-g1")
    assert {IMAGE} == names(backend)
    with pytest.raises(NotFound):
        backend.location(name="vol-a-g1")
    shared.make_blank("vol-a-g1", size_bytes=MIB)  # of the same name: not the one that was marked
    with pytest.raises(NotFound):
        backend.read(name="vol-a-g1", offset=0, length=1)
    clone(backend, "vol-a-g1")
    assert content == read_all(backend, "vol-a-g1")


def test_a_clone_that_somebody_flattened_is_told_to_be_full(
    backend: RbdBackend, shared: Look, content: bytes
) -> None:
    clone(backend, "vol-a-g1")
    with shared.rbd.Image(shared.ioctx, "vol-a-g1") as image:
        image.flatten()
    assert CloneMode.FULL == clone(backend, "vol-a-g1")
    assert content == read_all(backend, "vol-a-g1")


# --- what a fabric is told


def test_a_volume_is_told_with_its_ids_and_an_image_by_its_snapshot(
    ceph: CephCluster, backend: RbdBackend, shared: Look, content: bytes
) -> None:
    clone(backend, "vol-a-g1")
    image, volume = backend.location(name=IMAGE), backend.location(name="vol-a-g1")
    assert (POOL, ceph.conf, "clonepool") == (volume.pool, volume.conf, volume.client)
    assert ("master", "") == (image.snapshot, volume.snapshot)
    assert (image.image_id, "") == (volume.parent_id, image.parent_id)
    with shared.rbd.Image(shared.ioctx, "vol-a-g1", read_only=True) as opened:
        assert opened.id() == volume.image_id
    assert f"{POOL}/{image.namespace}/{IMAGE}@master" == str(image)


def test_nobody_can_write_to_the_shared_copy(backend: RbdBackend, content: bytes) -> None:
    held = RbdClient(backend.location(name=IMAGE))
    with pytest.raises(OSError, match=r"[Rr]ead-only|write"):
        held.write_at(0, b"x")
    assert content == held.read_at(0, len(content))
    held.close()


# --- fencing


def test_a_volume_of_a_server_that_died_is_deleted_at_once(
    backend: RbdBackend, shared: Look, content: bytes
) -> None:
    clone(backend, "vol-a-g1")
    with server_of(backend.location(name="vol-a-g1")) as server:
        server.kill()
        server.wait()
        began = time.monotonic()
        backend.delete(name="vol-a-g1")
        took_s = time.monotonic() - began
    # the cluster itself would wait for 30 s
    assert took_s < 10
    assert {IMAGE} == shared.images()


@pytest.mark.parametrize("method", [ScrubMethod.ZERO, ScrubMethod.DISCARD])
def test_a_server_that_was_stopped_can_t_write_to_what_was_erased(
    backend: RbdBackend, content: bytes, method: ScrubMethod
) -> None:
    clone(backend, "vol-a-g1")
    with server_of(backend.location(name="vol-a-g1")) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        os.kill(server.pid, signal.SIGSTOP)
        backend.erase(name="vol-a-g1", method=method)
        os.kill(server.pid, signal.SIGCONT)
        server.stdin.write("go on\n")
        server.stdin.flush()
        assert "refused\n" == server.stdout.readline()
    assert bytes(len(content)) == read_all(backend, "vol-a-g1")


def test_an_engine_that_was_fenced_itself_goes_on_by_a_new_connection(
    ceph: CephCluster, backend: RbdBackend, content: bytes
) -> None:
    address = backend._cluster._connected("looking").client.get_addrs()
    with ceph.admin() as admin:
        admin.rados.blocklist_add(address, 60)
    with pytest.raises(Unavailable, match="shut this engine's connection out"):
        list(map(partial(clone_and_delete, backend), range(20)))
    clone(backend, "vol-b-g1")
    assert content == read_all(backend, "vol-b-g1")


# --- snapshots


def test_a_fresh_snapshot_is_made_every_so_many_clones(
    rbd_options: RbdOptions, shared: Look, content: bytes
) -> None:
    backend = RbdBackend(replace(rbd_options, clones_per_snapshot=3))
    made = [f"vol-{number}-g1" for number in range(10)]
    for name in made:
        clone(backend, name)
    # master-1 and master-2 were removed, and live on out of sight under their clones
    assert {"master": 3, "master-3": 1} == shared.snapshots(IMAGE)
    assert 4 == shared.all_snapshots(IMAGE)
    assert all(content == read_all(backend, name) for name in made)
    for name in made:
        backend.delete(name=name)
    assert {"master": 0, "master-3": 0} == shared.snapshots(IMAGE)
    assert 2 == shared.all_snapshots(IMAGE)


def test_eight_threads_and_another_engine_keep_about_to_the_count(
    rbd_options: RbdOptions, shared: Look, content: bytes
) -> None:
    options = replace(rbd_options, clones_per_snapshot=5)
    engines = [RbdBackend(options), RbdBackend(options)]
    made = [f"vol-{number}-g1" for number in range(40)]
    with ThreadPoolExecutor(max_workers=8) as threads:
        kinds = list(threads.map(lambda at: clone(engines[at % 2], made[at]), range(40)))
    assert [CloneMode.THIN] * 40 == kinds
    assert {IMAGE, *made} == names(engines[0])
    # each engine counts for itself, and clones in progress count when they are done
    assert max(shared.snapshots(IMAGE).values()) <= 2 * 5 + 8
    assert all(content == read_all(engines[0], name) for name in made)


def test_an_image_deleted_under_its_clones_goes_with_the_last_of_them(
    rbd_options: RbdOptions, shared: Look, content: bytes
) -> None:
    backend = RbdBackend(replace(rbd_options, clones_per_snapshot=1))
    for name in ("vol-a-g1", "vol-b-g1"):
        clone(backend, name)
    backend.delete(name=IMAGE)
    assert ({"vol-a-g1", "vol-b-g1"}, [IMAGE]) == (shared.images(), shared.trash())
    backend.delete(name="vol-a-g1")
    assert content == read_all(backend, "vol-b-g1")
    backend.delete(name="vol-b-g1")
    assert (set(), []) == (shared.images(), shared.trash())
    backend.delete(name=IMAGE)
