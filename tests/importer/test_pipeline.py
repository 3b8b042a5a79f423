"""The whole way of a portion: from its source to an object, again after a kill, and never twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.backends.base import StorageBackend
from clonepool.backends.file import FileBackend
from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import ImagePortion, PortionSpec, Preconfigure
from clonepool.domain.states import CloneMode, PortionRole
from clonepool.errors import Cancelled, ClonepoolError, InvalidArgument
from clonepool.importer.digest import digest_file
from clonepool.importer.pipeline import ImageStore, import_portion
from clonepool.testing.file_systems import mounted_xfs
from clonepool.testing.images import (
    make_ext4_image,
    make_random_image,
    make_sparse_image,
    read_ext4_file,
)

from .conftest import WebServer

MIB = 2**20


def ignore(*_figures: int) -> None:
    pass


def run(
    source: str | Path,
    *preconfigure: Preconfigure,
    backend: ImageStore,
    staging: Path,
    size_bytes: int = 0,
    progress: object = ignore,
) -> ImagePortion:
    assert callable(progress)
    return import_portion(
        spec=PortionSpec(source=str(source), size_bytes=size_bytes),
        preconfigure=preconfigure,
        backend=backend,
        object_name="img",
        staging_dir=staging,
        import_roots=(),
        progress=progress,
    )


def wrote(path: str, content: str) -> Preconfigure:
    return Preconfigure(portion=PortionRole.WRITABLE, path=path, content=content)


@pytest.fixture
def ext4(tmp_path: Path) -> Path:
    files = {"/etc/hostname": "master"}
    return make_ext4_image(tmp_path / "ext4.raw", size_bytes=16 * MIB, files=files)


def test_a_downloaded_qcow2_arrives_with_its_users_files_for_every_clone(
    backend: FileBackend, staging: Path, web: WebServer, ext4: Path, tmp_path: Path
) -> None:
    qcow2 = tmp_path / "image.qcow2"
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(ext4), str(qcow2)]
    commands.run(argv, timeout_s=60)
    made = run(
        web.serve("/image.qcow2", qcow2.read_bytes()),
        wrote("/etc/customer", "acme"),
        backend=backend,
        staging=staging,
        size_bytes=20 * MIB,
    )
    backend.clone(image="img", name="vol", mode=CloneMode.AUTO)
    volume = backend.location(name="vol").path
    assert ("img", 20 * MIB) == (made.object_name, made.size_bytes)
    assert digest_file(volume, progress=ignore) == made.digest
    found = [read_ext4_file(volume, path) for path in ("/etc/hostname", "/etc/customer")]
    assert [b"master", b"acme"] == found
    assert [] == list(staging.iterdir())


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_importing_again_answers_the_same_and_fetches_nothing(
    tmp_path: Path, staging: Path, ext4: Path, kind: str
) -> None:
    """Even where the first answer was lost: the object itself is described."""
    backend: StorageBackend = (
        FileBackend(directory=tmp_path / "storage") if kind == "file" else MemoryBackend()
    )
    first = run(ext4, wrote("/a", "b"), backend=backend, staging=staging)
    ext4.unlink()
    assert first == run(ext4, wrote("/a", "b"), backend=backend, staging=staging)


def test_the_users_source_survives_an_import_unchanged(
    backend: FileBackend, staging: Path, ext4: Path
) -> None:
    before = ext4.read_bytes()
    run(ext4, wrote("/etc/hostname", "changed"), backend=backend, staging=staging)
    assert before == ext4.read_bytes()
    assert b"changed" == read_ext4_file(backend.location(name="img").path, "/etc/hostname")


def test_a_bad_path_is_refused_before_anything_is_fetched(
    backend: FileBackend, staging: Path, web: WebServer
) -> None:
    with pytest.raises(InvalidArgument):
        run(web.serve("/i", b"x"), wrote("/../x", ""), backend=backend, staging=staging)
    assert [] == web.requests


def test_a_cancel_at_any_report_leaves_nothing_and_the_next_import_succeeds(
    staging: Path, ext4: Path, tmp_path: Path
) -> None:
    reports: list[int] = []
    expected = run(
        ext4,
        backend=FileBackend(directory=tmp_path / "first"),
        staging=staging,
        progress=lambda done, _total: reports.append(done),
    )
    assert len(reports) > 4
    backend = FileBackend(directory=tmp_path / "storage")
    for last in range(len(reports)):
        seen: list[int] = []

        def cancel(done: int, _total: int, seen: list[int] = seen, last: int = last) -> None:
            seen.append(done)
            if len(seen) > last:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            run(ext4, backend=backend, staging=staging, progress=cancel)
        assert [] == list(backend.list())
        assert [] == list(staging.iterdir())
    assert expected == run(ext4, backend=backend, staging=staging)


def test_progress_only_grows_and_ends_at_the_total(
    backend: FileBackend, staging: Path, ext4: Path
) -> None:
    seen: list[tuple[int, int]] = []
    run(
        ext4,
        backend=backend,
        staging=staging,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sorted(done for done, _total in seen) == [done for done, _total in seen]
    assert all(done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1] == 3 * 16 * MIB


def test_an_error_leaves_nothing(backend: FileBackend, staging: Path, tmp_path: Path) -> None:
    no_file_system = make_random_image(tmp_path / "raw", size_bytes=MIB)
    with pytest.raises(ClonepoolError, match="guestfish"):
        run(no_file_system, wrote("/a", "b"), backend=backend, staging=staging)
    assert [] == list(backend.list())
    assert [] == list(staging.iterdir())


PROGRAM = textwrap.dedent("""
    import json, os, signal, sys
    from pathlib import Path
    from clonepool.backends.file import FileBackend
    from clonepool.domain.model import PortionSpec
    from clonepool.importer.pipeline import import_portion

    source, storage, staging, last = sys.argv[1:]
    reports = 0

    def die_in_time(done, total):
        global reports
        reports += 1
        if reports > int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    made = import_portion(
        spec=PortionSpec(source=source), preconfigure=(),
        backend=FileBackend(directory=Path(storage)), object_name="img",
        staging_dir=Path(staging), import_roots=(), progress=die_in_time,
    )
    print(json.dumps([made.size_bytes, made.digest]))
""")


def test_an_import_that_was_killed_is_finished_by_the_next(
    staging: Path, tmp_path: Path, ext4: Path
) -> None:
    qcow2, storage = tmp_path / "image.qcow2", tmp_path / "storage"
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(ext4), str(qcow2)]
    commands.run(argv, timeout_s=60)
    for last in (0, 1, 3, 5):
        done = start(qcow2, storage, staging, last)
        assert -signal.SIGKILL == done.returncode
        assert [] == list(FileBackend(directory=storage).list())
    answer = json.loads(start(qcow2, storage, staging, 10_000).stdout)
    assert [16 * MIB, digest_file(ext4, progress=ignore)] == answer
    assert [] == list(staging.iterdir())


def start(*arguments: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_a_sparse_tebibyte_is_imported_without_filling_anything(
    backend: FileBackend, staging: Path, tmp_path: Path
) -> None:
    data = {0: b"first", 2**39: b"middle"}
    source = make_sparse_image(tmp_path / "large", size_bytes=2**40, data=data)
    made = run(source, backend=backend, staging=staging)
    assert 2**40 == made.size_bytes
    assert backend.stat(name="img").used_bytes < MIB


@pytest.mark.root
@pytest.mark.reflink
def test_on_one_file_system_with_reflinks_nothing_is_copied() -> None:
    with mounted_xfs() as mount_point:
        backend = FileBackend(directory=mount_point / "storage")
        staging = mount_point / "staging"
        staging.mkdir()
        source = make_random_image(mount_point / "source", size_bytes=64 * MIB)
        before = backend.space().free_bytes
        run(source, backend=backend, staging=staging)
        assert before - backend.space().free_bytes < MIB
        assert source.read_bytes() == backend.location(name="img").path.read_bytes()
