"""Every format becomes the raw bytes it stands for, and no image reads another file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.backends.file import FileBackend
from clonepool.domain.model import ImagePortion, PortionSpec
from clonepool.errors import (
    Cancelled,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from clonepool.importer.limits import ImportLimits
from clonepool.importer.pipeline import import_portion, no_notice
from clonepool.testing.file_systems import mounted_tmpfs
from clonepool.testing.images import allocated_bytes, make_random_image, make_sparse_image

MIB = 2**20
LIMITS = ImportLimits()
Import = Callable[..., ImagePortion]


def ignore_progress(_done: int, _total: int) -> None:
    pass


def qemu_img(*arguments: str | Path) -> None:
    commands.run(["qemu-img", *map(str, arguments)], timeout_s=60)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """3 MiB of data in an image of 64 MiB."""
    data = make_random_image(tmp_path / "data", size_bytes=3 * MIB).read_bytes()
    return make_sparse_image(tmp_path / "raw", size_bytes=64 * MIB, data={10 * MIB: data})


@pytest.fixture
def do_import(backend: FileBackend, staging: Path) -> Import:
    def run(
        source: Path | str,
        *,
        format: str = "auto",  # noqa: A002 - the declaration's word
        size_bytes: int = 0,
        reserve_bytes: int = 0,
        limits: ImportLimits = LIMITS,
        progress: Callable[[int, int], None] = ignore_progress,
        notify: Callable[[str], None] = no_notice,
    ) -> ImagePortion:
        return import_portion(
            spec=PortionSpec(source=str(source), format=format, size_bytes=size_bytes),
            preconfigure=(),
            backend=backend,
            object_name="img",
            staging_dir=staging,
            import_roots=(),
            limits=replace(limits, reserve_bytes=reserve_bytes),
            progress=progress,
            notify=notify,
        )

    return run


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx", "qed"])
@pytest.mark.parametrize("declared", [True, False])
def test_an_image_of_any_format_becomes_its_raw_bytes(
    do_import: Import,
    backend: FileBackend,
    raw: Path,
    tmp_path: Path,
    image_format: str,
    declared: bool,
) -> None:
    source = tmp_path / f"image.{image_format}"
    qemu_img("convert", "-f", "raw", "-O", image_format, raw, source)
    made = do_import(source, format=image_format if declared else "auto")
    stored = backend.location(name="img").path
    assert (64 * MIB, raw.read_bytes()) == (made.size_bytes, stored.read_bytes())
    assert allocated_bytes(stored) < 5 * MIB


def test_a_compressed_qcow2_is_read(
    do_import: Import, backend: FileBackend, raw: Path, tmp_path: Path
) -> None:
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, tmp_path / "image")
    do_import(tmp_path / "image")
    assert raw.read_bytes() == backend.location(name="img").path.read_bytes()


@pytest.mark.parametrize("image_format", ["raw", "auto"])
def test_a_users_raw_file_is_copied_with_its_holes_and_stays(
    do_import: Import, backend: FileBackend, raw: Path, image_format: str
) -> None:
    before = raw.read_bytes()
    do_import(raw, format=image_format)
    assert before == raw.read_bytes() == backend.location(name="img").path.read_bytes()
    assert raw.stat().st_ino != backend.location(name="img").path.stat().st_ino
    assert allocated_bytes(backend.location(name="img").path) < 5 * MIB


def test_what_is_declared_raw_is_never_looked_into(
    do_import: Import, backend: FileBackend, raw: Path, tmp_path: Path
) -> None:
    """A server could write a qcow2 header to its disk to read the engine's files next time."""
    source = tmp_path / "image"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, source)
    do_import(source, format="raw")
    assert source.read_bytes() == backend.location(name="img").path.read_bytes()


def test_an_image_that_is_not_what_was_declared_is_refused(do_import: Import, raw: Path) -> None:
    with pytest.raises(InvalidArgument, match=rf"{raw} can't be read as qcow2: .+not in qcow2"):
        do_import(raw, format="qcow2")


@pytest.mark.parametrize("name", ["nbd", "vvfat", "http", "luks", "json:{}", "host_device"])
def test_a_protocol_is_no_format(do_import: Import, raw: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"not one of auto, .*qcow2"):
        do_import(raw, format=name)


def test_an_image_that_names_other_files_is_refused(
    do_import: Import, backend: FileBackend, raw: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.raw"
    make_random_image(secret, size_bytes=MIB)
    backed, external = tmp_path / "backed.qcow2", tmp_path / "external.qcow2"
    flat, descriptor = tmp_path / "flat.vmdk", tmp_path / "descriptor.vmdk"
    qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", backed)
    qemu_img(
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        f"data_file={tmp_path}/d,data_file_raw=on",
        external,
        "1M",
    )
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", raw, flat)
    descriptor.write_text(flat.read_text(errors="replace").replace("flat-flat", "/etc/passwd"))
    for image_format in ("auto", "qcow2"):
        with pytest.raises(PermissionDenied, match=r"a backing file.+flatten"):
            do_import(backed, format=image_format)
        with pytest.raises(PermissionDenied, match="an external data file"):
            do_import(external, format=image_format)
    for source in (flat, descriptor):
        with pytest.raises(PermissionDenied, match="VMDK"):
            do_import(source)
    assert [] == list(backend.list())


def test_an_encrypted_image_is_refused(do_import: Import, tmp_path: Path) -> None:
    secret = "secret,id=s,data=abc"
    # not luks: qemu times its key derivation by CPU ticks, and fails where they are coarse
    options = "encrypt.format=aes,encrypt.key-secret=s"
    image = tmp_path / "image"
    qemu_img("create", "-q", "--object", secret, "-f", "qcow2", "-o", options, image, "1M")
    with pytest.raises(InvalidArgument, match="is encrypted; decrypt"):
        do_import(image)


def test_a_compressed_file_is_not_taken_for_a_raw_disk(
    do_import: Import, backend: FileBackend, tmp_path: Path
) -> None:
    source = tmp_path / "image.raw.gz"
    source.write_bytes(b"\x1f\x8b" + bytes(1022))
    with pytest.raises(InvalidArgument, match=r"compressed \(gzip\); unpack"):
        do_import(source)
    do_import(source, format="raw")
    assert 1024 == backend.stat(name="img").size_bytes


def test_an_absurd_size_is_refused_before_anything_is_converted(
    do_import: Import, staging: Path, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", bomb, "60T")
    limits = ImportLimits(max_size_bytes=2**40)
    with pytest.raises(InvalidArgument, match=r"image of 60 TiB; .+ at most 1 TiB"):
        do_import(bomb, limits=limits)
    with pytest.raises(InvalidArgument, match="at most 1 TiB"):
        do_import(
            make_random_image(tmp_path / "r", size_bytes=512), limits=limits, size_bytes=2**41
        )
    assert [] == list(staging.iterdir())


def test_an_image_that_unpacks_to_more_than_there_is_is_refused_before_it_does(
    do_import: Import, backend: FileBackend, staging: Path, tmp_path: Path
) -> None:
    """A few hundred kilobytes can fill any disk for everybody."""
    plain = tmp_path / "plain"
    with plain.open("wb") as file:
        for _ in range(256):
            file.write(b"the same again! " * (MIB // 16))
    bomb = tmp_path / "bomb.qcow2"
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", plain, bomb)
    plain.unlink()
    assert bomb.stat().st_size < 4 * MIB
    reserve_bytes = backend.space().free_bytes - 128 * MIB
    written: list[int] = []

    def watch(_done: int, _total: int) -> None:
        written.append(sum(path.stat().st_size for path in staging.rglob("*") if path.is_file()))

    with pytest.raises(ResourceExhausted, match=r"converting .*bomb.qcow2: needs 256 MiB"):
        do_import(bomb, reserve_bytes=reserve_bytes, progress=watch)
    assert 0 == max(written)
    assert 256 * MIB == do_import(bomb).size_bytes


def test_what_will_be_staged_is_asked_for_before_it_is_written(
    do_import: Import, raw: Path, backend: FileBackend, staging: Path, tmp_path: Path
) -> None:
    """3 of its 64 MiB have data: so many are about to be taken from what is promised to others."""
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / "image.qcow2")
    asked: list[int] = []

    def refuse(needed_bytes: int) -> None:
        asked.append(needed_bytes)
        assert not [path for path in staging.rglob("*") if path.is_file() and path.stat().st_size]
        raise ResourceExhausted("promised to others", reason="NO_SPACE")

    with pytest.raises(ResourceExhausted, match="promised to others"):
        do_import(tmp_path / "image.qcow2", limits=replace(LIMITS, admit=refuse))
    assert [3 * MIB] == asked
    assert [] == list(backend.list())


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx", "qed", "vpc"])
def test_an_image_that_was_cut_short_is_refused_not_filled_with_zeros(
    do_import: Import, backend: FileBackend, tmp_path: Path, image_format: str
) -> None:
    plain = make_random_image(tmp_path / "plain", size_bytes=8 * MIB)
    source = tmp_path / "image"
    qemu_img("convert", "-f", "raw", "-O", image_format, plain, source)
    do_import(source, format=image_format)
    backend.delete(name="img")
    os.truncate(source, source.stat().st_size - 2 * MIB)
    with pytest.raises((DataLoss, InvalidArgument), match=r"damaged or was cut short|truncated"):
        do_import(source, format=image_format)
    assert [] == list(backend.list())


def test_an_image_is_grown_with_zeros(do_import: Import, backend: FileBackend, raw: Path) -> None:
    made = do_import(raw, size_bytes=100 * MIB)
    content = backend.location(name="img").path.read_bytes()
    assert (100 * MIB, raw.read_bytes() + bytes(36 * MIB)) == (made.size_bytes, content)


def test_a_size_below_the_images_own_is_refused_with_both(do_import: Import, raw: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"32 MiB .+ is less than .+ 64 MiB"):
        do_import(raw, size_bytes=32 * MIB)


@pytest.mark.parametrize("image_format", ["raw", "auto"])
def test_a_size_is_rounded_up_to_whole_sectors_and_it_is_said(
    do_import: Import, backend: FileBackend, tmp_path: Path, image_format: str
) -> None:
    source = make_random_image(tmp_path / "odd", size_bytes=1000)
    notices: list[str] = []
    made = do_import(source, format=image_format, notify=notices.append)
    assert 1024 == made.size_bytes
    assert ["the image's 1000 bytes are rounded up to 1024, a multiple of 512"] == notices
    assert source.read_bytes() + bytes(24) == backend.location(name="img").path.read_bytes()


def test_a_source_that_gives_less_than_it_says_fails_in_words(do_import: Import) -> None:
    """What /sys holds says 4096 bytes; whatever the system says is told, and nothing is kept."""
    with pytest.raises(Unavailable, match=r"importing /sys/.+became shorter") as refused:
        do_import("/sys/devices/system/cpu/online", format="raw")
    assert "IMPORT_IO" == refused.value.reason


def test_an_empty_image_is_refused(do_import: Import, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidArgument, match="must be more than 0"):
        do_import(tmp_path / "empty", format="raw")


def test_a_missing_qemu_img_is_named_with_its_package(
    do_import: Import, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FailedPrecondition, match="apt install qemu-utils"):
        do_import(raw)
    do_import(raw, format="raw")


def test_a_conversion_is_reported_and_can_be_cancelled(
    do_import: Import, staging: Path, tmp_path: Path
) -> None:
    plain = make_random_image(tmp_path / "plain", size_bytes=64 * MIB)
    source = tmp_path / "image.qcow2"
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", plain, source)
    size_bytes = source.stat().st_size
    seen: list[int] = []

    def cancel_once_converting(done: int, _total: int) -> None:
        seen.append(done)
        if done > size_bytes:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        do_import(source, progress=cancel_once_converting)
    assert sorted(seen) == seen
    assert [] == list(staging.iterdir())


@pytest.mark.root
def test_staging_that_is_too_small_is_said_with_figures(
    backend: FileBackend, raw: Path, tmp_path: Path
) -> None:
    qcow2 = tmp_path / "image.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    with mounted_tmpfs(size_bytes=2 * MIB) as small:
        for source in (raw, qcow2):
            with pytest.raises(ResourceExhausted, match=f"{small}.*free some space"):
                import_portion(
                    spec=PortionSpec(source=str(source)),
                    preconfigure=(),
                    backend=backend,
                    object_name="img",
                    staging_dir=small,
                    import_roots=(),
                    progress=ignore_progress,
                )
            assert [] == list(small.iterdir())
    assert [] == list(backend.list())


def test_the_output_of_qemu_img_is_as_this_reader_expects(raw: Path) -> None:
    """The one place where another program's words are parsed."""
    argv = ["qemu-img", "info", "--output=json", str(raw)]
    facts = json.loads(commands.run(argv, timeout_s=60).stdout)
    assert ("raw", os.stat(raw).st_size) == (facts["format"], facts["virtual-size"])
