"""What every storage backend must do, as tests: subclass ``BackendSuite``, give a backend."""

# ruff: noqa: D102 - the tests' names state the behaviour

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from clonepool.backends.base import StorageBackend
from clonepool.domain.location import HostPath
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import (
    AlreadyExists,
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from clonepool.testing.images import make_random_image, make_sparse_image
from clonepool.testing.object_io import FileIo, ObjectIo, StopAt
from clonepool.testing.space_suite import SpaceSuite

MIB: Final = 2**20
IMAGE: Final = "web-v1-writable"
VOLUME: Final = "vol-7f3a-g1"
OTHER: Final = "vol-91bc-g1"
_BAD_NAMES: Final = ("", "-a", "A", "a/b", "../a", ".", "a.b", "a\n", "a b", "a" * 122, "é")


class BackendSuite(SpaceSuite):
    """The conformance suite; ``backend`` is the one fixture a subclass must give."""

    # a driver that finds holes only by reading them sets less: it would read all of a full clone
    large_full_bytes: int = 2**40

    @pytest.fixture
    def backend(self) -> StorageBackend:
        """An empty backend."""
        raise NotImplementedError

    @pytest.fixture
    def image_file(self, tmp_path: Path) -> Path:
        """A raw file with data and holes, of no round size."""
        content = make_random_image(tmp_path / "random", size_bytes=2 * MIB, seed=1).read_bytes()
        data = {0: content[:MIB], 3 * MIB: content[MIB:-512], 9 * MIB: content[-512:]}
        return make_sparse_image(tmp_path / "image.raw", size_bytes=9 * MIB + 512, data=data)

    @pytest.fixture
    def content(self, image_file: Path) -> bytes:
        """The image's bytes, read before the backend takes the file."""
        return image_file.read_bytes()

    @pytest.fixture
    def image(self, backend: StorageBackend, image_file: Path, content: bytes) -> str:
        """An imported image."""
        backend.import_image(name=IMAGE, source=image_file)
        return IMAGE

    @pytest.fixture
    def volume(self, backend: StorageBackend, image: str) -> str:
        """A clone of it."""
        backend.clone(image=image, name=VOLUME, mode=CloneMode.AUTO)
        return VOLUME

    def open_object(self, backend: StorageBackend, name: str) -> ObjectIo:
        """How a fabric would hold an object open; by path unless the driver has no files."""
        location = backend.location(name=name)
        assert isinstance(location, HostPath)
        return FileIo(location.path, read_only=backend.stat(name=name).read_only)

    def read(self, backend: StorageBackend, name: str) -> bytes:
        """Every byte of an object."""
        with closing(self.open_object(backend, name)) as held:
            return held.read_at(0, backend.stat(name=name).size_bytes)

    def write(self, backend: StorageBackend, name: str, offset: int, data: bytes) -> None:
        """What a server would write."""
        with closing(self.open_object(backend, name)) as held:
            held.write_at(offset, data)

    def names(self, backend: StorageBackend) -> set[str]:
        """What is listed."""
        return {found.name for found in backend.list()}

    def test_what_was_written_to_is_told_from_what_was_made(
        self, backend: StorageBackend, image: str, volume: str
    ) -> None:
        """A backend that can't tell says of everything that it was not."""
        assert {None} == {found.written_at for found in backend.list()}
        self.write(backend, volume, 0, b"x")
        if backend.stat(name=volume).written_at is None:
            return
        assert backend.stat(name=image).written_at is None
        for _ in range(2):
            backend.seal(name=volume)
            assert backend.stat(name=volume).written_at is None

    # --- images

    def test_an_imported_image_is_read_only_and_has_the_files_bytes(
        self, backend: StorageBackend, image: str, content: bytes
    ) -> None:
        found = backend.stat(name=image)
        assert (found.name, found.size_bytes, found.read_only) == (image, len(content), True)
        assert content == self.read(backend, image)

    def test_holes_of_an_image_stay_holes(self, backend: StorageBackend, image: str) -> None:
        assert backend.stat(name=image).used_bytes < 3 * MIB

    def test_importing_again_changes_nothing(
        self, backend: StorageBackend, image: str, content: bytes, tmp_path: Path
    ) -> None:
        other = make_random_image(tmp_path / "other.raw", size_bytes=MIB, seed=2)
        backend.import_image(name=image, source=other)
        assert content == self.read(backend, image)

    def test_an_import_without_its_file_is_refused(
        self, backend: StorageBackend, tmp_path: Path
    ) -> None:
        with pytest.raises(NotFound):
            backend.import_image(name=IMAGE, source=tmp_path / "absent")
        assert set() == self.names(backend)

    def test_an_import_of_no_regular_file_or_an_empty_one_is_refused(
        self, backend: StorageBackend, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").touch()
        for source in (tmp_path, tmp_path / "empty"):
            with pytest.raises(InvalidArgument):
                backend.import_image(name=IMAGE, source=source)
        assert set() == self.names(backend)

    def test_an_interrupted_import_leaves_nothing_and_can_be_repeated(
        self, backend: StorageBackend, image_file: Path, content: bytes
    ) -> None:
        with pytest.raises(Cancelled):
            backend.import_image(name=IMAGE, source=image_file, progress=StopAt())
        assert set() == self.names(backend)
        backend.import_image(name=IMAGE, source=image_file)
        assert content == self.read(backend, IMAGE)

    # --- clones

    @pytest.mark.parametrize("mode", [CloneMode.AUTO, CloneMode.FULL])
    def test_a_clone_equals_its_image_and_is_writable(
        self, backend: StorageBackend, image: str, content: bytes, mode: CloneMode
    ) -> None:
        backend.clone(image=image, name=VOLUME, mode=mode)
        found = backend.stat(name=VOLUME)
        assert (len(content), False) == (found.size_bytes, found.read_only)
        assert content == self.read(backend, VOLUME)

    def test_clones_are_independent_of_each_other_and_of_the_image(
        self, backend: StorageBackend, image: str, volume: str, content: bytes
    ) -> None:
        backend.clone(image=image, name=OTHER, mode=CloneMode.AUTO)
        self.write(backend, volume, 100, b"first server")
        self.write(backend, OTHER, 200, b"second server")
        assert content[:100] + b"first server" + content[112:] == self.read(backend, volume)
        assert content[:200] + b"second server" + content[213:] == self.read(backend, OTHER)
        assert content == self.read(backend, image)

    def test_what_a_clone_was_is_reported(self, backend: StorageBackend, image: str) -> None:
        best = CloneMode.THIN if backend.capabilities().thin_clones else CloneMode.FULL
        assert best == backend.clone(image=image, name=VOLUME, mode=CloneMode.AUTO)
        assert CloneMode.FULL == backend.clone(image=image, name=OTHER, mode=CloneMode.FULL)
        assert "" != backend.capabilities().thin_reason

    def test_thin_is_thin_or_refused_with_the_reason(
        self, backend: StorageBackend, image: str
    ) -> None:
        if backend.capabilities().thin_clones:
            assert CloneMode.THIN == backend.clone(image=image, name=VOLUME, mode=CloneMode.THIN)
            return
        with pytest.raises(FailedPrecondition, match=r"thin clones are asked for, but .+; .+full"):
            backend.clone(image=image, name=VOLUME, mode=CloneMode.THIN)
        assert {image} == self.names(backend)

    def test_cloning_again_answers_the_same_and_keeps_what_was_written(
        self, backend: StorageBackend, image: str
    ) -> None:
        made = {
            name: backend.clone(image=image, name=name, mode=mode)
            for name, mode in ((VOLUME, CloneMode.AUTO), (OTHER, CloneMode.FULL))
        }
        self.write(backend, VOLUME, 0, b"kept")
        for name, kind in made.items():
            for mode in (CloneMode.AUTO, CloneMode.FULL):
                assert kind == backend.clone(image=image, name=name, mode=mode)
        assert b"kept" == self.read(backend, VOLUME)[:4]

    def test_a_clone_of_what_is_no_image_is_refused(
        self, backend: StorageBackend, volume: str
    ) -> None:
        for source in ("absent", volume):
            with pytest.raises(NotFound):
                backend.clone(image=source, name=OTHER, mode=CloneMode.AUTO)
        assert {IMAGE, volume} == self.names(backend)

    def test_an_image_and_a_volume_never_share_a_name(
        self, backend: StorageBackend, image: str, volume: str, tmp_path: Path
    ) -> None:
        other = make_random_image(tmp_path / "other.raw", size_bytes=MIB)
        with pytest.raises(AlreadyExists):
            backend.clone(image=image, name=image, mode=CloneMode.AUTO)
        with pytest.raises(AlreadyExists):
            backend.import_image(name=volume, source=other)

    @pytest.mark.parametrize("mode", [CloneMode.AUTO, CloneMode.FULL])
    def test_an_interrupted_clone_leaves_nothing_and_can_be_repeated(
        self, backend: StorageBackend, image: str, content: bytes, mode: CloneMode
    ) -> None:
        with pytest.raises(Cancelled):
            backend.clone(image=image, name=VOLUME, mode=mode, progress=StopAt())
        assert {image} == self.names(backend)
        with pytest.raises(NotFound):
            backend.stat(name=VOLUME)
        backend.clone(image=image, name=VOLUME, mode=mode)
        assert content == self.read(backend, VOLUME)

    @pytest.mark.parametrize("mode", [CloneMode.AUTO, CloneMode.FULL])
    def test_progress_only_grows_and_ends_at_the_size(
        self, backend: StorageBackend, image: str, content: bytes, mode: CloneMode
    ) -> None:
        seen: list[int] = []
        backend.clone(image=image, name=VOLUME, mode=mode, progress=seen.append)
        assert sorted(seen) == seen
        assert len(content) == seen[-1]

    def test_eight_threads_clone_at_once(
        self, backend: StorageBackend, image: str, content: bytes
    ) -> None:
        wanted = [f"vol-{index}-g1" for index in range(24)]
        self._clone_all(backend, image, wanted)
        assert {image, *wanted} == self.names(backend)
        assert all(content == self.read(backend, name) for name in wanted)

    def test_eight_threads_that_clone_to_one_name_make_one_volume(
        self, backend: StorageBackend, image: str, content: bytes
    ) -> None:
        assert 1 == len(set(self._clone_all(backend, image, [VOLUME] * 16)))
        assert {image, VOLUME} == self.names(backend)
        assert content == self.read(backend, VOLUME)

    @staticmethod
    def _clone_all(backend: StorageBackend, image: str, names: list[str]) -> list[CloneMode]:
        def clone(name: str) -> CloneMode:
            return backend.clone(image=image, name=name, mode=CloneMode.AUTO)

        with ThreadPoolExecutor(max_workers=8) as threads:
            return list(threads.map(clone, names))

    @pytest.mark.parametrize("mode", [CloneMode.AUTO, CloneMode.FULL])
    def test_a_sparse_image_of_a_tebibyte_is_cloned_and_stays_sparse(
        self, backend: StorageBackend, tmp_path: Path, mode: CloneMode
    ) -> None:
        size_bytes = self.large_full_bytes if mode is CloneMode.FULL else 2**40
        data = {0: b"first", size_bytes // 2: b"middle", size_bytes - 4: b"last"}
        source = make_sparse_image(tmp_path / "large.raw", size_bytes=size_bytes, data=data)
        backend.import_image(name=IMAGE, source=source)
        backend.clone(image=IMAGE, name=VOLUME, mode=mode)
        found = backend.stat(name=VOLUME)
        assert size_bytes == found.size_bytes
        assert found.used_bytes < MIB
        with closing(self.open_object(backend, VOLUME)) as held:
            assert data == {at: held.read_at(at, len(bytes_)) for at, bytes_ in data.items()}

    # --- erase

    @pytest.mark.parametrize("method", [ScrubMethod.ZERO, ScrubMethod.DISCARD])
    def test_nothing_reads_back_after_an_erase_but_zeros(
        self, backend: StorageBackend, image: str, volume: str, content: bytes, method: ScrubMethod
    ) -> None:
        if method not in backend.capabilities().scrub_methods:
            with pytest.raises(FailedPrecondition, match=rf"{method}.+; .+reformat"):
                backend.erase(name=volume, method=method)
            return
        for offset in (0, 2 * MIB - 100, len(content) - 6):
            self.write(backend, volume, offset, b"secret")
        for _repetition in range(2):
            backend.erase(name=volume, method=method)
            assert bytes(len(content)) == self.read(backend, volume)
        assert content == self.read(backend, image)

    def test_what_is_read_back_is_what_a_server_wrote_and_then_zeros(
        self, backend: StorageBackend, image: str, volume: str, content: bytes
    ) -> None:
        self.write(backend, volume, MIB - 3, b"secret")
        assert b"secret" == backend.read(name=volume, offset=MIB - 3, length=6)
        assert content[-5:] == backend.read(name=image, offset=len(content) - 5, length=MIB)
        backend.erase(name=volume, method=ScrubMethod.ZERO)
        assert bytes(len(content)) == backend.read(name=volume, offset=0, length=len(content))

    def test_an_interrupted_erase_can_be_repeated(
        self, backend: StorageBackend, volume: str, content: bytes
    ) -> None:
        with pytest.raises(Cancelled):
            backend.erase(name=volume, method=ScrubMethod.ZERO, progress=StopAt())
        assert {IMAGE, volume} == self.names(backend)
        backend.erase(name=volume, method=ScrubMethod.ZERO)
        assert bytes(len(content)) == self.read(backend, volume)

    def test_erase_refuses_reformat_images_and_the_absent(
        self, backend: StorageBackend, image: str, volume: str, content: bytes
    ) -> None:
        with pytest.raises(InvalidArgument, match="reformat"):
            backend.erase(name=volume, method=ScrubMethod.REFORMAT)
        with pytest.raises(FailedPrecondition, match="image"):
            backend.erase(name=image, method=ScrubMethod.ZERO)
        with pytest.raises(NotFound):
            backend.erase(name="absent", method=ScrubMethod.ZERO)
        assert content == self.read(backend, image)

    # --- delete

    def test_a_deleted_volume_is_gone_and_deleting_again_succeeds(
        self, backend: StorageBackend, image: str, volume: str, content: bytes
    ) -> None:
        for _repetition in range(2):
            backend.delete(name=volume)
            assert {image} == self.names(backend)
        with pytest.raises(NotFound):
            backend.location(name=volume)
        assert content == self.read(backend, image)

    def test_an_image_is_deleted_under_its_clones(
        self, backend: StorageBackend, image: str, volume: str, content: bytes
    ) -> None:
        backend.delete(name=image)
        assert {volume} == self.names(backend)
        assert content == self.read(backend, volume)

    def test_a_descriptor_held_open_over_a_delete_reads_nothing(
        self, backend: StorageBackend, volume: str, content: bytes
    ) -> None:
        with closing(self.open_object(backend, volume)) as held:
            held.write_at(0, b"secret")
            if not backend.capabilities().deletes_open:
                self._expect_held(backend, volume)
                return
            backend.delete(name=volume)
            assert b"" == held.read_at(0, len(content))

    def test_writes_through_a_descriptor_held_open_reach_no_new_generation(
        self, backend: StorageBackend, image: str, volume: str, content: bytes
    ) -> None:
        held = self.open_object(backend, volume)
        if not backend.capabilities().deletes_open:
            with closing(held):
                self._expect_held(backend, volume)
            return
        backend.delete(name=volume)
        for name in (volume, OTHER):  # even under the old name it is another inode
            backend.clone(image=image, name=name, mode=CloneMode.AUTO)
        with closing(held):
            self._try_write(held)
        assert content == self.read(backend, volume) == self.read(backend, OTHER)

    def _expect_held(self, backend: StorageBackend, name: str) -> None:
        """What is open and can't be deleted stays whole, and the error says who has it."""
        with pytest.raises(Unavailable, match=str(os.getpid())):
            backend.delete(name=name)
        assert name in self.names(backend)
        assert backend.stat(name=name).name == name

    @staticmethod
    def _try_write(held: ObjectIo) -> None:
        try:
            held.write_at(0, b"late")
        except OSError:
            return

    # --- names and listings

    def test_list_and_stat_agree(self, backend: StorageBackend, image: str, volume: str) -> None:
        assert {image: True, volume: False} == {
            found.name: found.read_only for found in backend.list()
        }
        for found in backend.list():
            assert found == backend.stat(name=found.name)

    def test_the_absent_is_not_found(self, backend: StorageBackend) -> None:
        for verb in (backend.stat, backend.location):
            with pytest.raises(NotFound, match="absent"):
                verb(name="absent")
        with pytest.raises(NotFound, match="absent"):
            backend.read(name="absent", offset=0, length=1)
        assert [] == list(backend.list())

    @pytest.mark.parametrize("name", _BAD_NAMES)
    def test_a_bad_name_is_refused_by_every_verb(
        self, backend: StorageBackend, image: str, image_file: Path, name: str
    ) -> None:
        verbs: tuple[Callable[[], object], ...] = (
            lambda: backend.import_image(name=name, source=image_file),
            lambda: backend.clone(image=image, name=name, mode=CloneMode.AUTO),
            lambda: backend.clone(image=name, name=VOLUME, mode=CloneMode.AUTO),
            lambda: backend.erase(name=name, method=ScrubMethod.ZERO),
            lambda: backend.delete(name=name),
            lambda: backend.read(name=name, offset=0, length=1),
            lambda: backend.stat(name=name),
            lambda: backend.location(name=name),
        )
        for verb in verbs:
            with pytest.raises(InvalidArgument, match="object name"):
                verb()
        assert {image} == self.names(backend)

    # --- space

    def test_free_space_is_within_the_total(self, backend: StorageBackend, image: str) -> None:
        space = backend.space()
        assert 0 < space.free_bytes <= space.total_bytes
