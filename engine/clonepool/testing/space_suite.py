"""What a storage backend must say of space: part of ``BackendSuite``, which has the fixtures."""

# ruff: noqa: D102 - the tests' names state the behaviour

from __future__ import annotations

import os
from typing import Final

import pytest

from clonepool.backends.base import StorageBackend
from clonepool.domain.states import CloneMode
from clonepool.errors import NotFound

MIB: Final = 2**20
# blocks, and what a file system sets aside when one is written
_SLACK_BYTES: Final = MIB


class SpaceSuite:
    """Figures by which clones are planned: one that promises too much lets servers run dry."""

    def write(self, backend: StorageBackend, name: str, offset: int, data: bytes) -> None:
        """What a server would write."""
        raise NotImplementedError

    def test_free_space_is_never_more_than_there_is(
        self, backend: StorageBackend, volume: str
    ) -> None:
        assert backend.stat(name=volume).name == volume
        space = backend.space()
        assert 0 <= space.free_bytes <= space.total_bytes

    def test_a_clone_has_no_more_to_itself_than_was_written_into_it(
        self, backend: StorageBackend, volume: str, image: str
    ) -> None:
        """More would be promised to others; fewer is safe, and 0 where it can't be told."""
        thin = backend.capabilities().thin_clones
        at_first = backend.own_bytes(name=volume)
        assert at_first <= (0 if thin else backend.stat(name=image).used_bytes + _SLACK_BYTES)
        self.write(backend, volume, 5 * MIB, os.urandom(2 * MIB))
        assert backend.own_bytes(name=volume) <= at_first + 2 * MIB + _SLACK_BYTES

    def test_an_object_never_has_more_to_itself_than_its_size(
        self, backend: StorageBackend, image: str
    ) -> None:
        backend.clone(image=image, name="vol-full-g1", mode=CloneMode.FULL)
        size_bytes = backend.stat(name="vol-full-g1").size_bytes
        self.write(backend, "vol-full-g1", 0, os.urandom(size_bytes))
        assert backend.own_bytes(name="vol-full-g1") <= size_bytes

    def test_what_an_absent_object_has_is_not_found(self, backend: StorageBackend) -> None:
        with pytest.raises(NotFound):
            backend.own_bytes(name="vol-absent-g1")
