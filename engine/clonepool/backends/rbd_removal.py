"""Taking RBD images away: fenced first, so that no dead or late server keeps or changes one."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from clonepool.backends.rbd_cluster import Cluster
from clonepool.backends.rbd_index import Index, Mark
from clonepool.errors import Unavailable

# a client that died without being fenced counts as a watcher for so long
_BUSY_S: Final = 35.0
_LEAST_PAUSE_S: Final = 0.05
_MOST_PAUSE_S: Final = 1.0
MASTER_SNAPSHOT: Final = "master"


class Removal:
    """Removes images of the namespace that ``ioctx`` is set to; every verb may be repeated."""

    def __init__(self, cluster: Cluster, ioctx: Any) -> None:
        self._cluster = cluster
        self._rbd = cluster.bindings.rbd
        self._calls = self._rbd.RBD()
        self._ioctx = ioctx
        self._index = Index(cluster.bindings, ioctx)

    def fence(self, name: str) -> None:
        """Shut out whoever has the image open for writing, except ourselves; absent: nothing.

        Without it a dead client keeps an image busy for 30 s, and a paused one could still write.
        """
        doing = f"fencing {name}"
        for address in self._watchers(name, doing=doing):
            self._cluster.fence(address, doing=doing)

    def remove(self, name: str) -> None:
        """Remove an image that has no snapshots, half-made ones too; absent: nothing.

        Raises Unavailable when it stays busy.
        """
        deadline, pause_s = time.monotonic() + _BUSY_S, _LEAST_PAUSE_S
        while True:
            self.fence(name)
            try:
                self._calls.remove(self._ioctx, name)
            except self._rbd.ImageNotFound:
                return
            except self._rbd.ImageBusy:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{name} is busy in the cluster since {_BUSY_S:g} s (rbd status tells by "
                        "whom); the engine tries again",
                        reason="IMAGE_BUSY",
                        retry_after_s=5.0,
                    ) from None
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)
            else:
                return

    def remove_unmarked(self, name: str) -> None:
        """Remove what a killed process left half-made, snapshots and all."""
        self._drop_snapshots(name)
        self.remove(name)

    def remove_master(self, name: str, mark: Mark) -> None:
        """Remove an image; its clones live on, and it lies in the trash until the last is gone."""
        self._index.set_deleted(name, mark)
        self.sweep()

    def sweep(self) -> None:
        """Remove the deleted images whose last clone has gone."""
        for image_id, name in self._index.deleted().items():
            if self._index.image_id(name) == image_id:
                self.fence(name)
                self._drop_snapshots(name)
                self._calls.trash_move(self._ioctx, name, 0)
            try:
                self._calls.trash_remove(self._ioctx, image_id, True)
            except self._rbd.ImageNotFound:
                pass
            except (self._rbd.ImageHasSnapshots, self._rbd.ImageBusy):
                continue
            self._index.forget_deleted(image_id)

    def _watchers(self, name: str, *, doing: str) -> list[str]:
        own_id = self._cluster.own_id(doing=doing)
        # half-made ones can't be opened, and nobody has them open
        with (
            suppress(self._rbd.ImageNotFound),
            self._rbd.Image(self._ioctx, name, read_only=True) as image,
        ):
            return [each["addr"] for each in image.watchers_list() if each["id"] != own_id]
        return []

    def _drop_snapshots(self, name: str) -> None:
        """Those that have clones stay, out of sight, as long as the clones do."""
        with suppress(self._rbd.ImageNotFound), self._rbd.Image(self._ioctx, name) as image:
            for snapshot in user_snapshots(image, self._rbd):
                image.remove_snap(snapshot)


def user_snapshots(image: Any, rbd: Any) -> list[str]:
    """The snapshots that have not been removed, in the order in which they were made."""
    return [
        str(snapshot["name"])
        for snapshot in image.list_snaps()
        if snapshot["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER
    ]
