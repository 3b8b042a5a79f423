"""Which snapshot of an image the next clone is made of: a fresh one every so many clones.

All children of a snapshot are one value in the cluster, which is rewritten with each clone: at
20,000 a clone takes three times as long. An image is never written to, so all its snapshots are
alike. The first, ``master``, stays: servers have the shared copy open by it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from clonepool.backends.rbd_cluster import Cluster
from clonepool.backends.rbd_removal import MASTER_SNAPSHOT, user_snapshots
from clonepool.backends.rbd_watchdog import StillWaiting

log = logging.getLogger(__name__)
DEFAULT_CLONES: Final = 1000
# without monitors no snapshot can be made, and each attempt costs their time limit
_RETRY_S: Final = 30.0


@dataclass(kw_only=True)
class _Generation:
    """The snapshot in use of one image, and how many clones it has."""

    snapshot: str
    clones: int
    retry_at: float = 0.0
    renewing: threading.Lock = field(default_factory=threading.Lock)


class Masters:
    """Counts the clones of each image's newest snapshot. Thread-safe.

    Several engines count each for itself from what they found at first: then a snapshot has some
    more clones, which is no harm.
    """

    def __init__(self, cluster: Cluster, *, most_clones: int) -> None:
        self._cluster = cluster
        self._rbd = cluster.bindings.rbd
        self._most_clones = most_clones
        self._lock = threading.Lock()
        self._known: dict[str, _Generation] = {}

    @contextmanager
    def snapshot(self, ioctx: Any, *, image: str, image_id: str) -> Iterator[str]:
        """The snapshot to clone; a body that succeeds has made one clone of it."""
        generation = self._generation(ioctx, image=image, image_id=image_id)
        if generation.clones >= self._most_clones:
            self._renew(ioctx, image, generation)
        yield generation.snapshot
        with self._lock:
            generation.clones += 1

    def forget(self, image_id: str) -> None:
        """Look again next time: another engine has made a fresh snapshot, or the image is gone."""
        with self._lock:
            self._known.pop(image_id, None)

    def _generation(self, ioctx: Any, *, image: str, image_id: str) -> _Generation:
        with self._lock:
            known = self._known.get(image_id)
        if known is None:
            known = self._look(ioctx, image)
            with self._lock:
                known = self._known.setdefault(image_id, known)
        return known

    def _look(self, ioctx: Any, image: str) -> _Generation:
        with self._cluster.image(ioctx, image, read_only=True) as opened:
            newest = max(user_snapshots(opened, self._rbd), key=_number)
            opened.set_snap(newest)
            # list_descendants would open every one of them
            children = sum(1 for _child in opened.list_children2())
        return _Generation(snapshot=newest, clones=children)

    def _renew(self, ioctx: Any, image: str, generation: _Generation) -> None:
        with generation.renewing:
            now = time.monotonic()
            if generation.clones < self._most_clones or now < generation.retry_at:
                return
            before = generation.snapshot
            fresh = f"{MASTER_SNAPSHOT}-{_number(before) + 1}"
            try:
                with self._cluster.image(ioctx, image) as opened:
                    with suppress(self._rbd.ImageExists):
                        opened.create_snap(fresh)
                    if before != MASTER_SNAPSHOT:
                        # its clones keep it, out of sight, until the last of them is gone
                        with suppress(self._rbd.ImageNotFound):
                            opened.remove_snap(before)
            except (self._rbd.Error, StillWaiting) as error:
                # an old snapshot serves as well, only slower
                log.warning("image %s: no fresh snapshot for clones: %s", image, error)
                generation.retry_at = now + _RETRY_S
                return
            with self._lock:
                generation.snapshot, generation.clones = fresh, 0


def _number(snapshot: str) -> int:
    """``master`` is 0, ``master-7`` is 7."""
    number = snapshot.removeprefix(MASTER_SNAPSHOT).removeprefix("-")
    return int(number) if number.isdigit() else 0
