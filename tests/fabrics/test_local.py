"""The local fabric: what is in the folder, who holds it, and how far read-only goes."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.domain.model import ChapAccount, Connection
from clonepool.domain.states import PortionRole
from clonepool.errors import FailedPrecondition, InvalidArgument, Unavailable
from clonepool.fabrics.base import Access, ExportSpec
from clonepool.fabrics.bind_mount import bind_read_only, is_mount, is_read_only_mount, unmount
from clonepool.testing.fabric_rig import RO, RW, Exports
from tests.fabrics.as_nobody import as_nobody, needs_root_to_become_nobody
from tests.fabrics.rigs import LocalRig

NOBODY_IN_PARTICULAR = Access(initiator="", chap=None)


@pytest.fixture
def by_mode(tmp_path: Path) -> Iterator[LocalRig]:
    rig = LocalRig(tmp_path / "state", read_only="mode")
    yield rig
    rig.stop()


@pytest.fixture
def by_bind(tmp_path: Path) -> Iterator[LocalRig]:
    rig = LocalRig(tmp_path / "state", read_only="bind")
    yield rig
    rig.stop()


def attach(rig: LocalRig, spec: ExportSpec) -> Connection:
    rig.fabric.export(spec)
    return rig.fabric.grant(spec, NOBODY_IN_PARTICULAR)


def path_of(connection: Connection, role: PortionRole) -> Path:
    (path,) = (volume.path for volume in connection.volumes if volume.role is role)
    return Path(path or "")


def test_the_folder_is_closed_and_empty_until_the_grant(
    by_mode: LocalRig, exports: Exports
) -> None:
    by_mode.fabric.export(exports.spec())
    folder = path_of(by_mode.fabric.connection(exports.spec()), RW).parent
    assert 0o700 == folder.stat().st_mode & 0o777
    assert [] == os.listdir(folder)


def test_the_writable_path_is_the_volume_itself(by_mode: LocalRig, exports: Exports) -> None:
    spec = exports.spec()
    path = path_of(attach(by_mode, spec), RW)
    assert path.samefile(spec.luns[1].path)
    assert not path.is_symlink()


def test_across_file_systems_the_writable_path_is_a_symlink(
    tmp_path: Path, exports: Exports
) -> None:
    elsewhere = Path("/dev/shm")  # noqa: S108 - a file system of its own on any Linux
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    folder = elsewhere / f"clonepool-test-{os.getpid()}"
    rig = LocalRig(folder, read_only="mode")
    try:
        connection = attach(rig, exports.spec())
        assert path_of(connection, RW).is_symlink()
        client = rig.connect(connection, initiator="", chap=None)
        with pytest.raises(Unavailable):
            rig.fabric.unexport("vol-a-g1")
        client.close()
        rig.fabric.unexport("vol-a-g1")
    finally:
        rig.stop()
        for name in ("exports", "revoking"):
            if (folder / name).exists():
                (folder / name).rmdir()
        folder.rmdir()


def test_chap_is_refused_rather_than_left_out(by_mode: LocalRig, exports: Exports) -> None:
    by_mode.fabric.export(exports.spec())
    chap = ChapAccount(username="user-a", secret="secret-of-a-12")
    with pytest.raises(FailedPrecondition, match="CHAP"):
        by_mode.fabric.grant(exports.spec(), Access(initiator="", chap=chap))


def test_a_target_name_can_not_lead_out_of_the_folder(by_mode: LocalRig, exports: Exports) -> None:
    for name in ("../escape", "a/b", "", ".", "-"):
        with pytest.raises(InvalidArgument):
            by_mode.fabric.export(replace(exports.spec(), target=name))
        with pytest.raises(InvalidArgument):
            by_mode.fabric.unexport(name)


def test_a_missing_volume_is_named(by_mode: LocalRig, exports: Exports) -> None:
    spec = exports.spec()
    spec.luns[1].path.unlink()
    with pytest.raises(FailedPrecondition, match=str(spec.luns[1].path)):
        attach(by_mode, spec)


def test_other_volumes_take_the_place_of_the_first(by_mode: LocalRig, exports: Exports) -> None:
    spec = exports.spec()
    attach(by_mode, spec)
    other = replace(spec, luns=exports.spec("other-g1").luns)
    path = path_of(attach(by_mode, other), RW)
    assert path.samefile(other.luns[1].path)


def test_a_path_that_keeps_a_removed_or_replaced_volume_is_found(
    by_mode: LocalRig, exports: Exports
) -> None:
    """It is a hard link: the server reaches the first file, whatever lies in its place by now."""
    spec = exports.spec()
    at, volume = path_of(attach(by_mode, spec), RW), spec.luns[1].path
    assert {} == by_mode.fabric.astray({spec.target: volume, "vol-b-g1": volume})
    content = volume.read_bytes()
    volume.unlink()
    assert {spec.target: str(at)} == by_mode.fabric.astray({spec.target: None})
    assert content == at.read_bytes()
    volume.write_bytes(content)
    assert {spec.target: str(at)} == by_mode.fabric.astray({spec.target: volume})
    by_mode.fabric.unexport(spec.target)
    attach(by_mode, spec)
    assert {} == by_mode.fabric.astray({spec.target: volume})


def test_a_holder_in_another_process_is_named_until_it_ends(
    by_mode: LocalRig, exports: Exports
) -> None:
    connection = attach(by_mode, exports.spec())
    code = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path_of(connection, RW))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert b"open\n" == holder.stdout.readline()
        (session,) = by_mode.fabric.sessions("vol-a-g1")
        assert f"process {holder.pid} " in session.detail
        with pytest.raises(Unavailable, match=str(holder.pid)):
            by_mode.fabric.revoke("vol-a-g1")
    assert () == by_mode.fabric.sessions("vol-a-g1")
    by_mode.fabric.revoke("vol-a-g1")


def test_a_mapping_without_a_descriptor_counts_as_a_holder(
    by_mode: LocalRig, exports: Exports
) -> None:
    """It can still write the volume, and /proc/PID/fd does not show it."""
    path = path_of(attach(by_mode, exports.spec()), RW)
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    assert 1 == len(by_mode.fabric.sessions("vol-a-g1"))
    with pytest.raises(Unavailable):
        by_mode.fabric.unexport("vol-a-g1")
    mapping.close()
    by_mode.fabric.unexport("vol-a-g1")


def test_the_capabilities_say_which_way_read_only_is_enforced(by_mode: LocalRig) -> None:
    facts = by_mode.fabric.capabilities()
    assert "mode" == facts.read_only_enforced_by
    assert "root" in facts.notes
    assert not facts.chap
    assert not facts.needs_initiator


@pytest.mark.root
def test_a_bind_mount_stops_root_too(by_bind: LocalRig, exports: Exports) -> None:
    assert "bind" == by_bind.fabric.capabilities().read_only_enforced_by
    path = path_of(attach(by_bind, exports.spec()), RO)
    with pytest.raises(OSError, match="Read-only file system"):
        path.open("r+b")
    with pytest.raises(OSError, match="Read-only file system"):
        path.chmod(0o600)


@pytest.mark.root
def test_a_server_that_reads_the_shared_copy_is_there(by_bind: LocalRig, exports: Exports) -> None:
    path = path_of(attach(by_bind, exports.spec()), RO)
    with path.open("rb"):
        (session,) = by_bind.fabric.sessions("vol-a-g1")
        assert str(os.getpid()) in session.detail
        with pytest.raises(Unavailable, match=str(os.getpid())):
            by_bind.fabric.revoke("vol-a-g1")
    by_bind.fabric.revoke("vol-a-g1")
    assert not path.exists()


@pytest.mark.root
def test_a_mount_that_a_crash_left_writable_is_made_anew(
    by_bind: LocalRig, exports: Exports, tmp_path: Path
) -> None:
    spec = exports.spec()
    path = path_of(attach(by_bind, spec), RO)
    unmount(path)
    commands.run(["mount", "--bind", str(exports.image), str(path)], timeout_s=10)
    assert is_mount(path)
    assert not is_read_only_mount(path)
    attach(by_bind, spec)
    assert is_read_only_mount(path)


@pytest.mark.root
def test_after_a_reboot_the_grant_mounts_again(by_bind: LocalRig, exports: Exports) -> None:
    spec = exports.spec()
    path = path_of(attach(by_bind, spec), RO)
    unmount(path)
    attach(by_bind, spec)
    assert exports.image.read_bytes() == path.read_bytes()


@pytest.mark.root
def test_a_bind_mount_is_told_from_a_file(tmp_path: Path) -> None:
    source, at = tmp_path / "source", tmp_path / "at"
    source.touch()
    at.touch()
    assert not is_mount(at)
    assert not unmount(at)
    bind_read_only(source=source, at=at)
    assert is_read_only_mount(at)
    assert unmount(at)
    assert not is_mount(at)


@needs_root_to_become_nobody
def test_a_normal_user_is_stopped_by_the_mode() -> None:
    def attach_and_write(folder: Path) -> str:
        exports, rig = Exports(folder), LocalRig(folder / "state", read_only="auto")
        facts = rig.fabric.capabilities()
        connection = attach(rig, exports.spec())
        client = rig.connect(connection, initiator="", chap=None)
        assert b"golden" in client.read(RO, 0, 512)
        client.write(RW, 0, b"x" * 512)
        try:
            path_of(connection, RO).open("r+b")
        except PermissionError:
            refused = "refused"
        else:
            refused = "written"
        try:
            rig.fabric.revoke("vol-a-g1")
        except Unavailable:
            held = "held"
        else:
            held = "cut"
        client.close()
        rig.fabric.unexport("vol-a-g1")
        return f"{facts.read_only_enforced_by} {refused} {held} {sorted(rig.fabric.list())}"

    assert "mode refused held []" == as_nobody(attach_and_write)
