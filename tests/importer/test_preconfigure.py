"""Files written into an image's file system without mounting it, by the real debugfs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.domain.model import Preconfigure
from clonepool.domain.states import PortionRole
from clonepool.errors import (
    Cancelled,
    ClonepoolError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
)
from clonepool.importer.debugfs import ExtImage, Inode
from clonepool.importer.limits import ImportLimits
from clonepool.importer.preconfigure import write_files
from clonepool.testing.file_systems import missing_for_xfs
from clonepool.testing.images import make_ext4_image, make_random_image, make_sparse_image

MIB = 2**20
LIMITS = ImportLimits()


def no_wait() -> None:
    pass


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An ext4 of 16 MiB with a file and, by symbolic links, a folder of many names."""
    files = {"/etc/motd": "old words", "/usr/lib/os-release": "clonepool"}
    made = make_ext4_image(tmp_path / "image", size_bytes=16 * MIB, files=files)
    links = {
        "/lib": "usr/lib",
        "/data": "/usr/lib",
        "/chain": "/etc/../usr/./up",
        "/usr/up": "../data",
        "/etc/link": "motd",
        "/loop": "/loop",
        "/dangling": "nowhere/at/all",
        "/long": "/usr" + "/." * 60 + "/lib",
    }
    for link, target in links.items():
        argv = ["debugfs", "-w", "-R", f"symlink {link} {target}", str(made)]
        commands.run(argv, timeout_s=60)
    return made


def write(image: Path, *files: Preconfigure, limits: ImportLimits = LIMITS, **roots: Path) -> None:
    write_files(
        image=image,
        files=files,
        import_roots=tuple(roots.values()),
        limits=limits,
        on_wait=no_wait,
    )


def file(path: str, content: str = "content", *, mode: int = 0o644) -> Preconfigure:
    return Preconfigure(portion=PortionRole.WRITABLE, path=path, content=content, mode=mode)


def copy_of(path: str, source: Path) -> Preconfigure:
    return Preconfigure(portion=PortionRole.WRITABLE, path=path, source=str(source))


def inside(image: Path) -> ExtImage:
    return ExtImage(image=image, scratch=image.parent, timeout_s=60, on_wait=no_wait)


def regular(content: str | bytes, *, mode: int = 0o644) -> Inode:
    return Inode(kind="regular", mode=mode, uid=0, gid=0, size_bytes=len(content))


def test_a_file_is_written_for_root_with_its_mode_and_parents(image: Path) -> None:
    write(image, file("/srv/app/conf/app.toml", "a = 1\n", mode=0o4750))
    found = inside(image)
    assert regular("a = 1\n", mode=0o4750) == found.find("/srv/app/conf/app.toml")
    assert b"a = 1\n" == found.read("/srv/app/conf/app.toml")
    for parent in ("/srv", "/srv/app", "/srv/app/conf"):
        made = found.find(parent)
        assert made is not None
        assert ("directory", 0o755, 0, 0) == (made.kind, made.mode, made.uid, made.gid)


def test_a_file_that_is_there_is_replaced_and_written_again_stays_the_same(image: Path) -> None:
    for _repetition in range(2):
        write(image, file("/etc/motd", "new words, which are more", mode=0o600))
        assert b"new words, which are more" == inside(image).read("/etc/motd")
    assert regular("new words, which are more", mode=0o600) == inside(image).find("/etc/motd")
    assert b"clonepool" == inside(image).read("/usr/lib/os-release")


def test_the_order_counts_and_the_last_of_two_wins(image: Path) -> None:
    write(image, file("/a", "first"), file("/b/c", "x"), file("/b/d", "y"), file("/a", "last"))
    contents = [inside(image).read(path) for path in ("/a", "/b/c", "/b/d")]
    assert [b"last", b"x", b"y"] == contents


@pytest.mark.parametrize("parent", ["/lib", "/data", "/chain", "/long"])
def test_a_folder_that_is_a_symbolic_link_is_followed(image: Path, parent: str) -> None:
    write(image, file(f"{parent}/app/new", "through the link"))
    assert b"through the link" == inside(image).read("/usr/lib/app/new")
    found = inside(image).find(parent)
    assert found is not None
    assert "symlink" == found.kind


def test_a_dangling_link_leads_to_the_folder_it_names(image: Path) -> None:
    write(image, file("/dangling/file", "made"))
    assert b"made" == inside(image).read("/nowhere/at/all/file")


def test_a_loop_of_links_is_named(image: Path) -> None:
    with pytest.raises(FailedPrecondition, match="/loop in the image is a loop"):
        write(image, file("/loop/file"))


def test_a_last_symbolic_link_is_replaced_and_its_target_kept(image: Path) -> None:
    write(image, file("/etc/link", "a file now"))
    assert regular("a file now") == inside(image).find("/etc/link")
    assert b"old words" == inside(image).read("/etc/motd")


@pytest.mark.parametrize(
    "content", ["", "no newline", "ünïcödé\n", 'quit\n"quoted"\nrm /etc/motd\n']
)
def test_content_is_written_byte_for_byte(image: Path, content: str) -> None:
    write(image, file("/file", content))
    assert content.encode() == inside(image).read("/file")
    assert b"old words" == inside(image).read("/etc/motd")


def test_binary_content_comes_from_a_file(image: Path, tmp_path: Path) -> None:
    source = make_random_image(tmp_path / "binary", size_bytes=3 * MIB + 17)
    write(image, copy_of("/opt/binary", source))
    assert source.read_bytes() == inside(image).read("/opt/binary")


def test_a_source_is_held_to_the_import_roots_and_the_limit(image: Path, tmp_path: Path) -> None:
    source = make_random_image(tmp_path / "source", size_bytes=2000)
    (tmp_path / "root").mkdir()
    with pytest.raises(PermissionDenied, match="import roots"):
        write(image, copy_of("/a", source), only=tmp_path / "root")
    with pytest.raises(InvalidArgument, match="at most 1000 B"):
        write(image, copy_of("/a", source), limits=ImportLimits(max_preconfigure_bytes=1000))


@pytest.mark.parametrize("path", ["/with space", "/a;b", "/<8>", "/ünï", "/-R", "/$HOME", "/#x"])
def test_odd_names_are_written_as_they_are(image: Path, path: str) -> None:
    write(image, file(path, "odd"))
    assert b"odd" == inside(image).read(path)


@pytest.mark.parametrize(
    "path",
    [
        *("", "relative", "/", "/a/", "//a", "/a/../b", "/./a", "/a\nrm /etc/motd"),
        *('/a"b', "/a'b", "/a\\b", "/a\tb", "/" + "x" * 256, "/x" * 2100),
    ],
)
def test_a_path_that_could_be_misread_is_refused(image: Path, path: str) -> None:
    before = image.read_bytes()
    with pytest.raises(InvalidArgument, match=r"preconfigure\.path"):
        write(image, file("/fine"), file(path))
    assert before == image.read_bytes()


def test_neither_or_both_of_content_and_source_and_a_bad_mode_are_refused(image: Path) -> None:
    neither = Preconfigure(portion=PortionRole.WRITABLE, path="/a")
    both = Preconfigure(portion=PortionRole.WRITABLE, path="/a", content="", source="/b")
    for bad in (neither, both, file("/a", mode=0o100644)):
        with pytest.raises(InvalidArgument, match="preconfigure"):
            write(image, bad)


@pytest.mark.parametrize("path", ["/etc", "/etc/motd/below", "/etc/motd/deep/below"])
def test_what_is_in_the_way_is_named(image: Path, path: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"/etc\S* in the image is (a|no) directory"):
        write(image, file(path))


def test_a_full_file_system_is_said(tmp_path: Path) -> None:
    image = make_ext4_image(tmp_path / "small", size_bytes=MIB)
    source = make_random_image(tmp_path / "source", size_bytes=2 * MIB)
    with pytest.raises(ResourceExhausted, match="file system is full"):
        write(image, copy_of("/a", source))


def test_a_journal_that_was_not_played_back_is_first(image: Path) -> None:
    """As in an image taken of a running server's disk."""
    set_needs_recovery(image)
    write(image, file("/file", "after recovery"))
    assert b"after recovery" == inside(image).read("/file")
    assert not struct.unpack_from("<I", image.read_bytes(), 1024 + 96)[0] & 4


def set_needs_recovery(image: Path) -> None:
    argv = ["debugfs", "-w", "-R", "feature +needs_recovery", str(image)]
    commands.run(argv, timeout_s=60)
    assert struct.unpack_from("<I", image.read_bytes(), 1024 + 96)[0] & 4


def test_a_damaged_file_system_is_refused(image: Path) -> None:
    argv = ["debugfs", "-w", "-R", "set_inode_field /etc/motd links_count 7", str(image)]
    commands.run(argv, timeout_s=60)
    with pytest.raises(DataLoss, match="run e2fsck on the source"):
        write(image, file("/a"))


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_the_three_ext_file_systems_are_written(tmp_path: Path, kind: str) -> None:
    image = make_sparse_image(tmp_path / "image", size_bytes=16 * MIB)
    commands.run(["mke2fs", "-q", "-F", "-t", kind, str(image)], timeout_s=60)
    write(image, file("/etc/hostname", kind))
    assert kind.encode() == inside(image).read("/etc/hostname")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({0: b"XFSB"}, "an XFS file system"),
        ({512: b"EFI PART", 510: b"\x55\xaa"}, "a GPT partition table"),
        ({510: b"\x55\xaa"}, "an MBR partition table"),
        ({512: b"LABELONE"}, "an LVM physical volume"),
        ({0x10040: b"_BHRfS_M"}, "a Btrfs file system"),
        ({0: b"LUKS\xba\xbe"}, "a LUKS container"),
        ({}, "no file system known here"),
    ],
)
def test_what_cannot_be_written_is_named_with_the_way_out(
    tmp_path: Path, data: dict[int, bytes], name: str
) -> None:
    image = make_sparse_image(tmp_path / "image", size_bytes=MIB, data=data)
    with pytest.raises(FailedPrecondition, match=rf"it holds {name}, .+guestfish"):
        write(image, file("/a"))


@pytest.mark.skipif("mkfs.xfs" in missing_for_xfs(), reason=missing_for_xfs())
def test_a_real_xfs_is_recognised(tmp_path: Path) -> None:
    image = make_sparse_image(tmp_path / "image", size_bytes=512 * MIB)
    commands.run(["mkfs.xfs", "-q", str(image)], timeout_s=60)
    with pytest.raises(FailedPrecondition, match="an XFS file system"):
        write(image, file("/a"))


def test_without_files_any_image_will_do(tmp_path: Path) -> None:
    write(make_sparse_image(tmp_path / "image", size_bytes=MIB))


def test_writing_can_be_cancelled_between_files(image: Path) -> None:
    def cancel() -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        write_files(image=image, files=[file("/a")], import_roots=(), limits=LIMITS, on_wait=cancel)
    assert inside(image).find("/a") is None


def test_missing_e2fsprogs_are_named_with_their_package(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FailedPrecondition, match="apt install e2fsprogs"):
        write(image, file("/a"))


def test_debugfs_fails_without_an_exit_code_and_it_is_noticed(image: Path) -> None:
    """The trap this module is built around: whatever happens, it exits with 0."""
    argv = ["debugfs", "-w", "-R", "mkdir /etc", str(image)]
    commands.run(argv, timeout_s=60)
    with pytest.raises(ClonepoolError, match="already exists"):
        inside(image).execute(["mkdir /etc"])
