"""Where an object's bytes are: what a storage tells a fabric, so that it can open them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class LocationKind(StrEnum):
    """What a fabric must be able to open."""

    FILE = "file"
    BLOCK = "block"
    RBD = "rbd"

    @property
    def words(self) -> str:
        """It, in a sentence."""
        return {"file": "files", "block": "block devices", "rbd": "RBD images"}[self.value]


@dataclass(frozen=True, kw_only=True)
class HostPath:
    """A file, or a block device, of the engine's own host."""

    path: Path
    kind: LocationKind = LocationKind.FILE

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, kw_only=True)
class RbdImage:
    """An RBD image, or with ``snapshot`` one of its snapshots, which nobody can write to.

    ``conf`` and ``client`` (``clonepool`` for ``client.clonepool``) are how the engine itself
    reaches the cluster; keys stay in the keyring that the configuration names. ``image_id`` is the
    cluster's own id, from which the names of its RADOS objects are made (``rbd_data.<id>.*``);
    ``parent_id`` that of the image it is a thin clone of, whose data its readers read too, or "".
    """

    pool: str
    namespace: str
    image: str
    snapshot: str = ""
    image_id: str
    parent_id: str = ""
    conf: Path
    client: str
    kind: LocationKind = LocationKind.RBD

    def __str__(self) -> str:
        """As Ceph's own programs write it."""
        where = "/".join(filter(None, (self.pool, self.namespace, self.image)))
        return f"{where}@{self.snapshot}" if self.snapshot else where


Location = HostPath | RbdImage
