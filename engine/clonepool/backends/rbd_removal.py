"""Taking RBD images away: fenced first, so that no dead or late server keeps or changes one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from clonepool.backends.rbd_cluster import Cluster
from clonepool.backends.rbd_index import Index, Mark

# A fenced watcher is gone at once, with one exception: where a client was killed between sending
# its watch and hearing of it, the OSD has written the watch down, and minds neither time nor fence
# until it loads the object again (seen in 16.2).
_BUSY_S: Final = 3.0
_LEAST_PAUSE_S: Final = 0.05
_MOST_PAUSE_S: Final = 1.0
MASTER_SNAPSHOT: Final = "master"


class Removal:
    """Removes images of the namespace that ``ioctx`` is set to; every verb may be repeated."""

    def __init__(self, cluster: Cluster, ioctx: Any) -> None:
        self._cluster = cluster
        self._rbd = cluster.bindings.rbd
        self._calls = cluster.calls
        self._ioctx = ioctx
        self._index = Index(cluster.bindings, ioctx)

    def fence(self, name: str) -> None:
        """Shut out whoever has the image open for writing; absent: nothing.

        Without it a dead client keeps an image busy for 30 s, and a paused one could still write.
        Where it is we ourselves, from a call that ended without an answer, the connection is made
        anew: then it raises Unavailable, and the repetition goes on.
        """
        doing = f"fencing {name}"
        own_id = self._cluster.own_id(doing=doing)
        watchers = self._watchers(name)
        for address in (address for address, its_id in watchers if its_id != own_id):
            self._cluster.fence(address, doing=doing)
        if any(its_id == own_id for _address, its_id in watchers):
            self._cluster.start_over(doing=doing)

    def remove(self, name: str) -> None:
        """Remove an image that has no snapshots, half-made ones too; absent: nothing.

        Its name is free in every case. One that stays busy although nobody can write to it any
        more is set aside, and removed when ``sweep`` finds that it can be.
        """
        deadline, pause_s = time.monotonic() + _BUSY_S, _LEAST_PAUSE_S
        while True:
            self.fence(name)
            try:
                self._watched(self._rbd.RBD().remove, name)
            except self._rbd.ImageNotFound:
                return
            except self._rbd.ImageBusy:
                if time.monotonic() > deadline:
                    self._set_aside(name, self._index.image_id(name))
                    return
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)
            else:
                return

    def remove_whole(self, name: str) -> None:
        """Remove an image and its snapshots; what a killed process left half-made is no other."""
        self._drop_snapshots(name)
        self.remove(name)

    def remove_master(self, name: str, mark: Mark) -> None:
        """Remove an image; its clones live on, and it is set aside until the last is gone."""
        self._index.set_deleted(name, mark.id)
        self.sweep()

    def sweep(self) -> None:
        """Remove what was set aside, as far as that can be now."""
        waiting = self._index.deleted()
        # a clone in the trash keeps its image there: what goes makes room for another
        while gone := [each for each in waiting if self._sweep_one(each, waiting[each])]:
            waiting = {each: name for each, name in waiting.items() if each not in gone}

    def _sweep_one(self, image_id: str, name: str) -> bool:
        """Whether it is gone."""
        if self._index.image_id(name) == image_id:
            self.fence(name)
            self._drop_snapshots(name)
            self._set_aside(name, image_id)
        try:
            self._watched(self._rbd.RBD().trash_remove, image_id, True)
        except self._rbd.ImageNotFound:
            pass
        except (self._rbd.ImageHasSnapshots, self._rbd.ImageBusy):
            return False
        self._index.forget_deleted(image_id)
        return True

    def _set_aside(self, name: str, image_id: str) -> None:
        """Put an image into the cluster's trash, to be removed from there."""
        self._index.set_deleted(name, image_id)
        with suppress(self._rbd.ImageNotFound):
            self._calls.trash_move(self._ioctx, name, 0)

    def _watched(self, remove: Callable[..., None], *arguments: object) -> None:
        """A large image takes long: each of its objects that goes is a sign of life."""
        self._cluster.watchdog.run(lambda beat: remove(self._ioctx, *arguments, on_progress=beat))

    def _watchers(self, name: str) -> list[tuple[str, int]]:
        """Address and id of each."""
        # half-made ones can't be opened, and nobody has them open
        with (
            suppress(self._rbd.ImageNotFound),
            self._cluster.image(self._ioctx, name, read_only=True) as image,
        ):
            return [(each["addr"], each["id"]) for each in image.watchers_list()]
        return []

    def _drop_snapshots(self, name: str) -> None:
        """Those that have clones stay, out of sight, as long as the clones do."""
        with suppress(self._rbd.ImageNotFound), self._cluster.image(self._ioctx, name) as image:
            for snapshot in user_snapshots(image, self._rbd):
                image.remove_snap(snapshot)


def user_snapshots(image: Any, rbd: Any) -> list[str]:
    """The snapshots that have not been removed, in the order in which they were made."""
    return [
        str(snapshot["name"])
        for snapshot in image.list_snaps()
        if snapshot["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER
    ]
