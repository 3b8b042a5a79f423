"""The cluster as an administrator sees it: images of a namespace, whole or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clonepool.backends.rbd_bindings import load_bindings
from clonepool.testing.ceph_cluster import POOL, Admin, CephCluster


class Look:
    """One namespace."""

    def __init__(self, admin: Admin, ioctx: Any) -> None:
        self.admin = admin
        self.ioctx = ioctx
        self.rbd = load_bindings().rbd
        self.calls = self.rbd.RBD()

    def images(self) -> set[str]:
        """What RBD lists, marked or not."""
        return set(self.calls.list(self.ioctx))

    def trash(self) -> list[str]:
        return [entry["name"] for entry in self.calls.trash_list(self.ioctx)]

    def snapshots(self, image: str) -> dict[str, int]:
        """An image's snapshots that were not removed, and how many clones each has."""
        with self.rbd.Image(self.ioctx, image, read_only=True) as opened:
            names = [
                snapshot["name"]
                for snapshot in opened.list_snaps()
                if snapshot["namespace"] == self.rbd.RBD_SNAP_NAMESPACE_TYPE_USER
            ]
            found = {}
            for name in names:
                opened.set_snap(name)
                found[name] = len(list(opened.list_children2()))
        return found

    def all_snapshots(self, image: str) -> int:
        """How many there are, those out of sight too."""
        with self.rbd.Image(self.ioctx, image, read_only=True) as opened:
            return len(list(opened.list_snaps()))

    def parent(self, image: str) -> str:
        with self.rbd.Image(self.ioctx, image, read_only=True) as opened:
            return str(opened.parent_info()[1])

    def make_blank(self, name: str, *, size_bytes: int) -> None:
        """What a clone leaves that is killed before it has its parent."""
        self.calls.create(self.ioctx, name, size_bytes)

    def make_unopenable(self, name: str) -> None:
        """What a clone leaves that is killed before it has its header."""
        self.calls.create(self.ioctx, name, 2**20)
        with self.rbd.Image(self.ioctx, name, read_only=True) as opened:
            image_id = opened.id()
        self.ioctx.remove_object(f"rbd_header.{image_id}")


@contextmanager
def looking(cluster: CephCluster, namespace: str) -> Iterator[Look]:
    """As client.admin."""
    with cluster.admin() as admin, admin.rados.open_ioctx(POOL) as ioctx:
        ioctx.set_namespace(namespace)
        yield Look(admin, ioctx)
