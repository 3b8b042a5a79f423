"""The ready marks: which RBD images of a namespace are whole, and what they are.

A process that is killed in the middle leaves images that are blank, of full size and open like any
other. So an image counts only with a mark, which is written last and names its id: one RADOS object
in each namespace has the marks of all as keys. A listing asks for it instead of opening each image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from clonepool.backends.rbd_bindings import Bindings

INDEX_OBJECT: Final = "clonepool_objects"
# an image that can't be removed yet, kept in the trash: it has clones, or the cluster holds it busy
_DELETED: Final = "deleted/"
_PAGE: Final = 1000
# how RBD itself keeps the names of images (its on-disk format 2)
_DIRECTORY: Final = "rbd_directory"
_ID_OBJECT: Final = "rbd_id."
_HEADER: Final = "rbd_header."
_PARENT_KEY: Final = "parent"
_LENGTH_BYTES: Final = 4


class Kind(StrEnum):
    """What a marked image is."""

    IMAGE = "image"
    THIN = "thin"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is known of an object that is whole. ``used_bytes`` is what it held when it was made."""

    id: str
    kind: Kind
    size_bytes: int
    used_bytes: int
    parent_id: str = ""

    def encode(self) -> bytes:
        """For the cluster to keep."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, value: bytes) -> Mark:
        """What ``encode`` made; what a newer version added is left out."""
        known = json.loads(value)
        return cls(
            id=known["id"],
            kind=Kind(known["kind"]),
            size_bytes=known["size_bytes"],
            used_bytes=known["used_bytes"],
            parent_id=known["parent_id"],
        )


class Index:
    """The marks in one namespace; ``ioctx`` is set to it."""

    def __init__(self, bindings: Bindings, ioctx: Any) -> None:
        self._rados = bindings.rados
        self._ioctx = ioctx

    def find(self, name: str) -> Mark | None:
        """The mark of an object that is there, with the id that it names."""
        value = self._get(INDEX_OBJECT, name)
        if value is None:
            return None
        mark = Mark.decode(value)
        return mark if self.image_id(name) == mark.id else None

    def set(self, name: str, mark: Mark) -> None:
        """From now on the object counts."""
        with self._writing() as operation:
            self._ioctx.set_omap(operation, (name,), (mark.encode(),))

    def remove(self, name: str) -> None:
        """From now on it does not count; no mark: nothing happens."""
        with self._writing() as operation:
            self._ioctx.remove_omap_keys(operation, (name,))

    def set_deleted(self, name: str, image_id: str) -> None:
        """An image does not count any more, and is remembered until it can be removed."""
        with self._writing() as operation:
            self._ioctx.set_omap(operation, (_DELETED + image_id,), (name.encode(),))
            self._ioctx.remove_omap_keys(operation, (name,))

    def forget_deleted(self, image_id: str) -> None:
        """It is removed."""
        self.remove(_DELETED + image_id)

    def deleted(self) -> Mapping[str, str]:
        """The names of the images that wait to be removed, by id."""
        found = self._pages(INDEX_OBJECT, prefix=_DELETED)
        return {key.removeprefix(_DELETED): value.decode() for key, value in found}

    def marks(self) -> Iterator[tuple[str, Mark]]:
        """Every mark, of objects that are there or were taken away behind our back."""
        for key, value in self._pages(INDEX_OBJECT, prefix=""):
            if not key.startswith(_DELETED):
                yield key, Mark.decode(value)

    def image_id(self, name: str) -> str:
        """The id of the RBD image of that name, "" where there is none."""
        with suppress(self._rados.ObjectNotFound):
            held: bytes = self._ioctx.read(_ID_OBJECT + name)
            return held[_LENGTH_BYTES:].decode()
        return ""

    def is_clone_of(self, image_id: str, parent_id: str) -> bool:
        """Whether an image's header names this parent: what ``parent_info`` tells, unopened.

        False means no more than that the header does not say so in the way that is known here.
        """
        parent = self._get(_HEADER + image_id, _PARENT_KEY)
        return parent is not None and parent_id.encode() in parent

    def has_mark(self, name: str) -> bool:
        """Whether there is a mark, be it of an image that is gone."""
        return self._get(INDEX_OBJECT, name) is not None

    def has_image(self, name: str) -> bool:
        """Whether RBD lists an image of that name, whole or not."""
        return self._get(_DIRECTORY, f"name_{name}") is not None or self.image_id(name) != ""

    def _get(self, oid: str, key: str) -> bytes | None:
        with self._reading(oid) as operation:
            found, _ = self._ioctx.get_omap_vals_by_keys(operation, (key,))
            self._ioctx.operate_read_op(operation, oid)
            return dict(found).get(key)
        return None

    def _pages(self, oid: str, *, prefix: str) -> Iterator[tuple[str, bytes]]:
        after, more = "", True
        while more:
            page: list[tuple[str, bytes]] = []
            with self._reading(oid) as operation:
                found, _ = self._ioctx.get_omap_vals(operation, after, prefix, _PAGE)
                self._ioctx.operate_read_op(operation, oid)
                page = list(found)
            yield from page
            more = len(page) == _PAGE
            after = page[-1][0] if page else ""

    @contextmanager
    def _reading(self, _oid: str) -> Iterator[Any]:
        """A read operation; the object absent is as if it had no keys."""
        operation = self._ioctx.create_read_op()
        try:
            with suppress(self._rados.ObjectNotFound):
                yield operation
        finally:
            self._ioctx.release_read_op(operation)

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """A write operation, done at the end at once and as a whole."""
        operation = self._ioctx.create_write_op()
        try:
            yield operation
            self._ioctx.operate_write_op(operation, INDEX_OBJECT)
        finally:
            self._ioctx.release_write_op(operation)
