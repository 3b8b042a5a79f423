"""The file driver's own promises: its layout, full disks, leftovers and broken storage."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.backends import file_erase
from clonepool.backends.file import FileBackend
from clonepool.backends.storage_errors import storage_errors
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import (
    ClonepoolError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from clonepool.testing.file_systems import mounted_tmpfs
from clonepool.testing.images import allocated_bytes, make_random_image, make_sparse_image

MIB = 2**20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def backend(directory: Path) -> FileBackend:
    return FileBackend(directory=directory)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A tmpfs of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tmpfs")
    with mounted_tmpfs(size_bytes=8 * MIB) as mount_point:
        yield mount_point


def import_random(backend: FileBackend, folder: Path, *, size_bytes: int = MIB) -> bytes:
    source = make_random_image(folder / "source.raw", size_bytes=size_bytes)
    content = source.read_bytes()
    backend.import_image(name="img", source=source)
    return content


@contextmanager
def mounted_over(mount_point: Path) -> Iterator[None]:
    """What an umount looks like from above: another, empty file system at the same path."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(mount_point)]
    commands.run(mount, timeout_s=10)
    try:
        yield
    finally:
        commands.run(["umount", str(mount_point)], timeout_s=10)


def files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_engines_user_may_reach_the_files(
    backend: FileBackend, directory: Path, tmp_path: Path
) -> None:
    import_random(backend, tmp_path)
    backend.clone(image="img", name="vol", mode=CloneMode.FULL)
    assert 0o700 == mode_of(directory)
    assert 0o400 == mode_of(backend.location(name="img").path)
    assert 0o600 == mode_of(backend.location(name="vol").path)


def test_what_a_clone_was_outlives_the_process(
    backend: FileBackend, directory: Path, tmp_path: Path
) -> None:
    import_random(backend, tmp_path)
    backend.clone(image="img", name="vol", mode=CloneMode.FULL)
    again = FileBackend(directory=directory)
    assert CloneMode.FULL == again.clone(image="img", name="vol", mode=CloneMode.AUTO)


def test_a_killed_processs_leftovers_are_removed_at_open(
    backend: FileBackend, directory: Path, tmp_path: Path
) -> None:
    content = import_random(backend, tmp_path)
    leftover = directory / "tmp" / "vol.00ff"
    leftover.write_bytes(b"half a clone")
    leftover.chmod(0o400)
    with leftover.open("rb") as held:
        again = FileBackend(directory=directory)
        assert b"" == held.read()
    assert {"images/img"} == files_in(directory)
    assert content == again.location(name="img").path.read_bytes()


def test_a_file_on_the_same_file_system_is_taken_without_copying(
    backend: FileBackend, tmp_path: Path
) -> None:
    source = make_random_image(tmp_path / "source.raw", size_bytes=MIB)
    inode = source.stat().st_ino
    backend.import_image(name="img", source=source)
    assert inode == backend.location(name="img").path.stat().st_ino
    assert not source.exists()


def test_a_file_with_a_second_name_is_copied_since_that_name_could_write_it(
    backend: FileBackend, tmp_path: Path
) -> None:
    source = make_random_image(tmp_path / "source.raw", size_bytes=MIB)
    os.link(source, tmp_path / "second")
    backend.import_image(name="img", source=source)
    assert source.stat().st_ino != backend.location(name="img").path.stat().st_ino
    assert source.read_bytes() == backend.location(name="img").path.read_bytes()


def test_a_link_is_not_followed_by_an_import(backend: FileBackend, tmp_path: Path) -> None:
    make_random_image(tmp_path / "source.raw", size_bytes=MIB)
    (tmp_path / "link").symlink_to(tmp_path / "source.raw")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        backend.import_image(name="img", source=tmp_path / "link")


@pytest.mark.root
def test_a_file_on_another_file_system_is_copied_with_its_holes(
    backend: FileBackend, small_disk: Path
) -> None:
    source = make_sparse_image(
        small_disk / "source.raw", size_bytes=2**30, data={2**29: b"x" * MIB}
    )
    backend.import_image(name="img", source=source)
    assert source.exists()
    made = backend.location(name="img").path
    assert 2**30 == made.stat().st_size
    assert allocated_bytes(made) < 2 * MIB
    with made.open("rb") as file:
        file.seek(2**29)
        assert b"x" * MIB == file.read(MIB)


@pytest.mark.root
def test_a_copy_that_cannot_fit_is_refused_with_figures_before_it_starts(small_disk: Path) -> None:
    backend = FileBackend(directory=small_disk / "storage")
    import_random(backend, small_disk, size_bytes=5 * MIB)
    with pytest.raises(
        ResourceExhausted, match=r"needs 5 MiB, .+ is free in .+; .+scrub"
    ) as raised:
        backend.clone(image="img", name="vol", mode=CloneMode.FULL)
    assert str(5 * MIB) == raised.value.metadata["needed_bytes"]
    assert 0 < int(raised.value.metadata["free_bytes"]) < 5 * MIB
    assert {"storage/images/img"} == files_in(small_disk)


@pytest.mark.root
def test_a_disk_that_fills_up_half_way_leaves_nothing_of_the_clone(small_disk: Path) -> None:
    backend = FileBackend(directory=small_disk / "storage")
    two_runs = {0: b"a" * 4096, 8 * MIB: b"b" * MIB}
    source = make_sparse_image(small_disk / "s", size_bytes=9 * MIB, data=two_runs)
    backend.import_image(name="img", source=source)

    def fill_the_disk(_done_bytes: int) -> None:
        if not (small_disk / "hog").exists():
            (small_disk / "hog").write_bytes(bytes(backend.space().free_bytes))

    with pytest.raises(ResourceExhausted, match=r"cloning .+ is free in"):
        backend.clone(image="img", name="vol", mode=CloneMode.FULL, progress=fill_the_disk)
    assert {"storage/images/img", "hog"} == files_in(small_disk)


@pytest.mark.root
def test_a_storage_that_is_unmounted_is_away_and_not_empty() -> None:
    with mounted_tmpfs(size_bytes=4 * MIB) as mount_point:
        backend = FileBackend(directory=mount_point)
        import_random(backend, mount_point)
        with mounted_over(mount_point):
            verbs: tuple[Callable[[], object], ...] = (
                lambda: list(backend.list()),
                lambda: backend.stat(name="img"),
                backend.space,
                lambda: backend.delete(name="img"),
                lambda: backend.clone(image="img", name="vol", mode=CloneMode.AUTO),
            )
            for verb in verbs:
                with pytest.raises(Unavailable, match="mount it again"):
                    verb()
        assert ["img"] == [found.name for found in backend.list()]


def test_a_removed_storage_directory_is_away(backend: FileBackend, directory: Path) -> None:
    shutil.rmtree(directory)
    with pytest.raises(Unavailable, match=r"storage directory .+ is not there"):
        backend.stat(name="img")


@pytest.mark.root
def test_a_read_only_file_system_says_so() -> None:
    with mounted_tmpfs(size_bytes=4 * MIB) as mount_point:
        backend = FileBackend(directory=mount_point)
        import_random(backend, mount_point)
        mount = ["mount", "-o", "remount,ro", str(mount_point)]
        commands.run(mount, timeout_s=10)
        with pytest.raises(Unavailable, match=r"read-only.+remount"):
            backend.clone(image="img", name="vol", mode=CloneMode.AUTO)
        assert ["img"] == [found.name for found in backend.list()]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EACCES, PermissionDenied, f"uid {os.geteuid()}.+rights on"),
        (errno.EIO, Unavailable, "Input/output error"),
        (errno.EROFS, Unavailable, "remount"),
        (errno.EDQUOT, ResourceExhausted, "is free in"),
        (errno.EFBIG, FailedPrecondition, "smaller image"),
        (errno.ENOENT, NotFound, "No such file"),
    ],
)
def test_each_failure_of_the_storage_has_its_kind(
    tmp_path: Path, code: int, kind: type[ClonepoolError], words: str
) -> None:
    with (
        pytest.raises(kind, match=rf"cloning: .*{words}"),
        storage_errors(doing="cloning", directory=tmp_path),
    ):
        raise OSError(code, os.strerror(code))


def test_probing_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "unfinished").write_bytes(b"of a running engine")
    before = files_in(tmp_path)
    assert ScrubMethod.ZERO in FileBackend.probe(tmp_path).scrub_methods
    assert before == files_in(tmp_path)


def test_zeroing_keeps_holes_and_overwrites_in_place(backend: FileBackend, tmp_path: Path) -> None:
    source = make_sparse_image(tmp_path / "s", size_bytes=64 * MIB, data={MIB: b"x" * MIB})
    backend.import_image(name="img", source=source)
    backend.clone(image="img", name="vol", mode=CloneMode.FULL)
    before = extents_of(backend.location(name="vol").path)
    backend.erase(name="vol", method=ScrubMethod.ZERO)
    assert before == extents_of(backend.location(name="vol").path)
    assert bytes(64 * MIB) == backend.location(name="vol").path.read_bytes()


@pytest.mark.root
@pytest.mark.reflink
def test_zeroing_lets_go_of_shared_blocks_and_overwrites_the_volumes_own(
    xfs_directory: Path,
) -> None:
    backend = FileBackend(directory=xfs_directory)
    content = import_random(backend, xfs_directory, size_bytes=8 * MIB)
    backend.clone(image="img", name="vol", mode=CloneMode.THIN)
    volume = backend.location(name="vol").path
    with volume.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(b"secret" * 1000)
        file.flush()
        os.fsync(file.fileno())
    own_before = [found for found in extents_of(volume) if not found.shared]
    backend.erase(name="vol", method=ScrubMethod.ZERO)
    assert own_before
    assert own_before == extents_of(volume)
    assert bytes(8 * MIB) == volume.read_bytes()
    assert content == backend.location(name="img").path.read_bytes()


@pytest.mark.root
@pytest.mark.reflink
def test_a_full_clone_shares_no_block_even_where_reflinks_are(xfs_directory: Path) -> None:
    backend = FileBackend(directory=xfs_directory)
    import_random(backend, xfs_directory)
    backend.clone(image="img", name="full", mode=CloneMode.FULL)
    assert not any(found.shared for found in extents_of(backend.location(name="full").path))
    backend.clone(image="img", name="thin", mode=CloneMode.AUTO)
    assert all(found.shared for found in extents_of(backend.location(name="thin").path))


def extents_of(path: Path) -> list[file_erase.Extent]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return list(file_erase.extents(file.fileno()))


def test_discard_gives_the_blocks_back(backend: FileBackend, tmp_path: Path) -> None:
    import_random(backend, tmp_path, size_bytes=4 * MIB)
    backend.clone(image="img", name="vol", mode=CloneMode.FULL)
    backend.erase(name="vol", method=ScrubMethod.DISCARD)
    assert 0 == backend.stat(name="vol").used_bytes


def test_a_foreign_file_in_the_directory_is_no_object(
    backend: FileBackend, directory: Path
) -> None:
    (directory / "README").write_text("keep out")
    (directory / "images" / "folder").mkdir()
    (directory / "images" / "link").symlink_to("/etc/passwd")
    assert [] == list(backend.list())
    for name in ("folder", "link"):
        with pytest.raises(NotFound):
            backend.location(name=name)


@pytest.mark.root
@pytest.mark.reflink
def test_a_thin_clone_has_to_itself_what_was_written_and_not_discarded(xfs_directory: Path) -> None:
    """Also over many extents: more than one answer of the file system holds."""
    backend = FileBackend(directory=xfs_directory)
    import_random(backend, xfs_directory, size_bytes=32 * MIB)
    backend.clone(image="img", name="vol", mode=CloneMode.THIN)
    assert 0 == backend.own_bytes(name="vol")
    block = 4096
    with open(backend.location(name="vol").path, "r+b") as file:
        for number in range(600):
            os.pwrite(file.fileno(), b"s" * block, number * 2 * block)
        os.fsync(file.fileno())
    assert 600 * block == backend.own_bytes(name="vol")
    backend.erase(name="vol", method=ScrubMethod.DISCARD)
    assert 0 == backend.own_bytes(name="vol")
