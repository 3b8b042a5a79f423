"""Whoever clones is killed in the middle, again and again: nothing blank, half or left over."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clonepool.backends.rbd import RbdBackend
from clonepool.backends.rbd_options import RbdOptions
from clonepool.domain.states import CloneMode
from clonepool.testing.ceph_cluster import CephCluster
from clonepool.testing.images import make_random_image

from .rbd_cluster import looking

pytestmark = [pytest.mark.ceph, pytest.mark.slow]

KILLS = 25
IMAGE = "img-web-rw"
# says which clone it begins; four at a time, as an engine does
_CLONER = (
    "import sys\n"
    "from concurrent.futures import ThreadPoolExecutor\n"
    "from clonepool.backends.rbd import RbdBackend\n"
    "from clonepool.backends.rbd_options import RbdOptions\n"
    "from clonepool.domain.states import CloneMode\n"
    "conf, prefix, stem = sys.argv[1:]\n"
    "options = RbdOptions.read({'conf': conf, 'namespace_prefix': prefix})\n"
    "backend = RbdBackend(options)\n"
    "backend.stat(name='img-web-rw')\n"
    "def clone(number):\n"
    "    name = f'vol-{stem}-{number}-g1'\n"
    "    sys.stdout.write(name + '\\n')\n"
    "    sys.stdout.flush()\n"
    "    backend.clone(image='img-web-rw', name=name, mode=CloneMode.AUTO)\n"
    "with ThreadPoolExecutor(max_workers=4) as threads:\n"
    "    list(threads.map(clone, range(1000)))\n"
)


def kill_in_the_middle(conf: Path, prefix: str, *, stem: int, after_s: float) -> list[str]:
    """The clones that were begun, the last ones half done."""
    with cloner(conf, prefix, stem) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(after_s)
        process.kill()
        begun = [first, *process.stdout.readlines()]
    return [line.strip() for line in begun if line.endswith("\n")]


@contextmanager
def cloner(conf: Path, prefix: str, stem: int) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", _CLONER, str(conf), prefix, str(stem)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_25_kills_in_mid_clone_hand_out_nothing_blank_or_half_and_leak_nothing(
    ceph: CephCluster, rbd_options: RbdOptions, tmp_path: Path
) -> None:
    source = make_random_image(tmp_path / "image", size_bytes=2**20, seed=5)
    content, prefix = source.read_bytes(), rbd_options.namespace_prefix
    backend = RbdBackend(rbd_options)
    backend.import_image(name=IMAGE, source=source)
    chance, left_over = random.Random(25), 0  # noqa: S311 - a test's choice
    with looking(ceph, f"{prefix}.shared") as shared:
        for kill in range(KILLS):
            after_s = chance.uniform(0.0, 0.15)
            begun = kill_in_the_middle(ceph.conf, prefix, stem=kill, after_s=after_s)
            handed_out = {found.name for found in backend.list()} - {IMAGE}
            assert handed_out <= set(begun)
            left_over += len(shared.images() - handed_out - {IMAGE})
            for number, name in enumerate(begun):
                # the operation is taken up again; or its pool is gone, and so is the volume
                if number % 2 == 0 or name in handed_out:
                    backend.clone(image=IMAGE, name=name, mode=CloneMode.AUTO)
                    assert IMAGE == shared.parent(name)
                    assert content == backend.read(name=name, offset=0, length=len(content) + 1)
                backend.delete(name=name)
            assert {IMAGE} == shared.images()
            assert [IMAGE] == [found.name for found in backend.list()]
        # some the cluster holds busy for a watcher that it has forgotten: until it loads them anew
        for name in ceph.osds:
            ceph.kill(name)
        ceph.heal()
        assert [IMAGE] == [found.name for found in backend.list()]
        assert ([], {"master": 0}) == (shared.trash(), shared.snapshots(IMAGE))
    assert left_over > 0, "no kill came in the middle of a clone, so nothing was tried"
    print(f"{KILLS} kills left {left_over} half-made images")
