"""What was erased is read back; what does not read as it should is faulty and never handed out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clonepool.backends.base import Progress, no_progress
from clonepool.backends.file import FileBackend
from clonepool.backends.memory import MemoryBackend
from clonepool.controllers.read_back import Object, read_back
from clonepool.domain.model import PageRequest, ScrubPolicy
from clonepool.domain.states import (
    AfterScrub,
    Assurance,
    CloneMode,
    ScrubMethod,
    ScrubRunState,
    VerifyMode,
    VolumeState,
)
from clonepool.domain.work import ScrubRecord
from clonepool.errors import DataLoss, FailedPrecondition, Internal, NotFound
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES, EngineRig

V = VolumeState
ZEROS = bytes(DEFAULT_IMAGE_BYTES)
GOLDEN = (b"golden" * (DEFAULT_IMAGE_BYTES // 6 + 1))[:DEFAULT_IMAGE_BYTES]


class Careless(MemoryBackend):
    """Says that it erased, and leaves a byte of it; or makes clones that are not the image."""

    def __init__(self) -> None:
        super().__init__()
        self.careless = True

    def erase(self, *, name: str, method: ScrubMethod, progress: Progress = no_progress) -> None:
        super().erase(name=name, method=method, progress=progress)
        if self.careless:
            self.open(name=name).write_at(DEFAULT_IMAGE_BYTES - 1, b"x")

    def clone(
        self, *, image: str, name: str, mode: CloneMode, progress: Progress = no_progress
    ) -> CloneMode:
        kind = super().clone(image=image, name=name, mode=mode, progress=progress)
        if self.careless and not name.endswith("-g1"):
            self.open(name=name).write_at(5, b"x")
        return kind


def records(rig: EngineRig) -> list[ScrubRecord]:
    return list(rig.engine.scrub.list_records(page=PageRequest())[0])


def scrub_one(rig: EngineRig, **policy: object) -> str:
    """A pool of one volume, used and released; its id."""
    rig.add_pool(
        min_ready=1,
        max_replicas=1,
        scrub=ScrubPolicy(threshold=1, **policy),  # type: ignore[arg-type]
    )
    attached = rig.attach_and_wait("a")
    rig.release(attached)
    return attached.volume_id


@pytest.fixture
def careless(rig: EngineRig) -> EngineRig:
    rig.close()
    rig.add_storage("default", Careless())
    rig.open()
    rig.add_image()
    return rig


def mend(rig: EngineRig) -> None:
    assert isinstance(rig.storage, Careless)
    rig.storage.careless = False


METHODS = [
    (ScrubMethod.ZERO, "zeros", ZEROS),
    (ScrubMethod.DISCARD, "zeros", ZEROS),
    (ScrubMethod.REFORMAT, "image", GOLDEN),
]


@pytest.mark.parametrize("mode", [VerifyMode.SAMPLE, VerifyMode.FULL])
@pytest.mark.parametrize(("method", "expected", "content"), METHODS)
def test_the_record_says_what_was_read_back(
    web: EngineRig, method: ScrubMethod, expected: str, content: bytes, mode: VerifyMode
) -> None:
    scrub_one(web, method=method, verify=mode)
    web.wait_ready(1)
    (record,) = records(web)
    seen = record.read_back
    assert (mode, "passed", expected) == (seen.mode, seen.result, seen.expected)
    assert DEFAULT_IMAGE_BYTES == seen.bytes_read, "so small a volume is read whole"
    assert hashlib.sha256(content).hexdigest() == seen.digest
    assert [mode] == [run.verify for run in web.runs()]


def test_without_verification_the_record_says_so(web: EngineRig) -> None:
    scrub_one(web)
    web.wait_ready(1)
    (record,) = records(web)
    assert (VerifyMode.NONE, "none", 0) == (
        record.read_back.mode,
        record.read_back.result,
        record.read_back.bytes_read,
    )


def test_what_is_reformatted_and_destroyed_leaves_nothing_to_read(web: EngineRig) -> None:
    scrub_one(web, verify=VerifyMode.FULL, then=AfterScrub.DESTROY)
    web.wait_runs_over()
    (record,) = records(web)
    assert ("gone", 0) == (record.read_back.result, record.read_back.bytes_read)


@pytest.mark.parametrize("mode", [VerifyMode.SAMPLE, VerifyMode.FULL])
@pytest.mark.parametrize("method", ScrubMethod)
def test_what_reads_back_wrong_is_faulty_with_its_error_and_never_handed_out(
    careless: EngineRig, method: ScrubMethod, mode: VerifyMode
) -> None:
    volume_id = scrub_one(careless, method=method, verify=mode)
    careless.pass_time_until(lambda: careless.count(V.FAULTY) == 1, what=careless.volumes)
    volume = careless.volume(volume_id)
    assert "does not read as" in volume.error
    assert "differs" in volume.error
    assert "clonepool volume retry" in careless.wait_event("SCRUB_FAILED").message
    assert [ScrubRunState.FAILED] == [run.state for run in careless.wait_runs_over()]
    assert [] == records(careless)
    mend(careless)
    assert volume_id != careless.attach_and_wait("b").volume_id


@pytest.mark.parametrize("method", ScrubMethod)
def test_a_faulty_volume_that_is_mended_is_retried_by_its_id(
    careless: EngineRig, method: ScrubMethod
) -> None:
    volume_id = scrub_one(careless, method=method, verify=VerifyMode.FULL)
    careless.pass_time_until(lambda: careless.count(V.FAULTY) == 1, what=careless.volumes)
    mend(careless)
    run = careless.engine.scrub.start_one(volume_id=volume_id, after=AfterScrub.RECYCLE)
    assert run is not None
    assert ("retry", 1) == (run.trigger, run.volumes)
    careless.wait_runs_over(2)
    assert ["passed"] == [record.read_back.result for record in records(careless)]
    careless.wait_ready(1)
    for volume in careless.volumes():
        assert GOLDEN == careless.storage.read(
            name=volume.object_name, offset=0, length=DEFAULT_IMAGE_BYTES
        )


def test_destroying_a_faulty_volume_erases_it_first(careless: EngineRig) -> None:
    volume_id = scrub_one(careless, method=ScrubMethod.ZERO, verify=VerifyMode.FULL)
    careless.pass_time_until(lambda: careless.count(V.FAULTY) == 1, what=careless.volumes)
    destroy = careless.engine.scrub.start_one
    assert destroy(volume_id=volume_id, after=AfterScrub.DESTROY) is not None
    careless.pass_time_until(
        lambda: careless.volume(volume_id).state is V.FAULTY, what=careless.volumes
    )
    assert [] == records(careless), "what can't be erased is not destroyed either"
    mend(careless)
    run = destroy(volume_id=volume_id, after=AfterScrub.DESTROY)
    assert run is not None
    assert "destroy" == run.trigger
    careless.wait_runs_over(3)
    assert [AfterScrub.DESTROY] == [record.then for record in records(careless)]
    careless.wait_for(
        lambda: volume_id not in {each.id for each in careless.volumes()}, what=careless.volumes
    )
    assert destroy(volume_id=volume_id, after=AfterScrub.DESTROY) is None, "gone: done"


def test_only_a_faulty_volume_is_retried_or_destroyed(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=9))
    (ready,) = web.volumes()
    for after in AfterScrub:
        with pytest.raises(FailedPrecondition, match="is ready, not faulty"):
            web.engine.scrub.start_one(volume_id=ready.id, after=after)
    with pytest.raises(NotFound):
        web.engine.scrub.start_one(volume_id="nobody", after=AfterScrub.RECYCLE)


def test_asked_twice_it_is_retried_once(careless: EngineRig) -> None:
    volume_id = scrub_one(careless, method=ScrubMethod.ZERO, verify=VerifyMode.FULL)
    careless.pass_time_until(lambda: careless.count(V.FAULTY) == 1, what=careless.volumes)
    retry = careless.engine.scrub.start_one
    first = retry(volume_id=volume_id, after=AfterScrub.RECYCLE)
    second = retry(volume_id=volume_id, after=AfterScrub.RECYCLE)
    assert first is not None
    assert second is not None
    assert first.id == second.id


@pytest.mark.parametrize("method", [ScrubMethod.ZERO, ScrubMethod.DISCARD])
def test_what_was_read_survives_a_crash_after_the_object_is_gone(
    web: EngineRig, method: ScrubMethod
) -> None:
    """It could never be read again."""
    assert isinstance(web.storage, MemoryBackend)
    deleted: list[str] = []

    def dies(step: str, name: str) -> None:
        if step == "delete.done" and name.startswith("vol-") and not deleted:
            deleted.append(name)
            raise Internal("killed between the deletion and the record")

    web.storage.on_step = dies
    scrub_one(web, method=method, verify=VerifyMode.FULL)
    web.pass_time_until(lambda: bool(records(web)), what=web.volumes)
    (record,) = records(web)
    assert ("passed", DEFAULT_IMAGE_BYTES) == (
        record.read_back.result,
        record.read_back.bytes_read,
    )
    assert deleted


def test_a_version_that_comes_while_it_is_read_back_is_what_it_gets(web: EngineRig) -> None:
    assert isinstance(web.storage, MemoryBackend)
    web.add_pool(
        min_ready=1,
        max_replicas=1,
        scrub=ScrubPolicy(threshold=1, verify=VerifyMode.FULL),
    )
    attached = web.attach_and_wait("a")
    silver = web.portion("second", fill=b"silver")
    changed: list[str] = []

    def changes(step: str, name: str) -> None:
        if step == "clone.publish" and name.endswith("-g2") and not changed:
            changed.append(name)
            web.update_image(writable=silver)

    web.storage.on_step = changes
    web.release(attached)
    web.pass_time_until(lambda: bool(records(web)), what=web.volumes)
    web.wait_ready(1)
    (volume,) = web.volumes()
    assert changed
    assert (2, 2) == (volume.generation, volume.image_version)
    assert b"silver" == web.storage.read(name=volume.object_name, offset=0, length=6)


def test_a_promise_that_the_storage_cant_keep_is_refused(web: EngineRig) -> None:
    with pytest.raises(FailedPrecondition, match="can't promise to purge the medium by zero"):
        web.add_pool(scrub=ScrubPolicy(method=ScrubMethod.ZERO, assurance=Assurance.PURGE))


class Shredder(MemoryBackend):
    """Purges by zero, and does not know what its discarded blocks read as."""

    def capabilities(self):
        return type(super().capabilities())(
            thin_clones=True,
            thin_reason="",
            scrub_methods=frozenset(ScrubMethod),
            erasure_note="",
            purges=frozenset({ScrubMethod.ZERO}),
            discard_reads_zeros=False,
        )


def test_a_promise_is_taken_where_the_storage_keeps_it(rig: EngineRig) -> None:
    rig.close()
    rig.add_storage("default", Shredder())
    rig.open()
    rig.add_image()
    rig.add_pool(scrub=ScrubPolicy(method=ScrubMethod.ZERO, assurance=Assurance.PURGE))
    with pytest.raises(FailedPrecondition, match=r"by discard \(it can by zero\)"):
        rig.add_pool("b", scrub=ScrubPolicy(method=ScrubMethod.DISCARD, assurance=Assurance.PURGE))
    with pytest.raises(FailedPrecondition, match="can't say what discarded blocks read as"):
        rig.add_pool("b", scrub=ScrubPolicy(method=ScrubMethod.DISCARD, verify=VerifyMode.SAMPLE))


def test_a_sample_reads_the_ends_and_places_that_nobody_foresees(tmp_path: Path) -> None:
    folder = tmp_path / "storage"
    folder.mkdir()
    backend = FileBackend(directory=folder)
    size_bytes = 64 * 2**20
    source = tmp_path / "source"
    source.touch()
    with source.open("r+b") as file:
        file.truncate(size_bytes)
    backend.import_image(name="img", source=source)
    backend.clone(image="img", name="vol", mode=CloneMode.AUTO)
    found = Object(name="vol", size_bytes=size_bytes)

    def sample(choose: object) -> int:
        return read_back(
            backend,
            found,
            mode=VerifyMode.SAMPLE,
            progress=no_progress,
            choose=choose,  # type: ignore[arg-type]
        ).bytes_read

    # 64 at random places, perhaps the same twice, and the two ends
    chosen = iter(range(1, 65))
    assert 66 * 65536 == sample(lambda _blocks: next(chosen))
    for offset in (0, size_bytes - 1, 500 * 65536):
        with backend.path(name="vol").open("r+b") as file:
            file.seek(offset)
            file.write(b"x")
        with pytest.raises(DataLoss, match=f"byte {offset} differs"):
            sample(lambda _blocks: 500)
        with pytest.raises(DataLoss, match=f"byte {offset} differs"):
            read_back(backend, found, mode=VerifyMode.FULL, progress=no_progress)
        with backend.path(name="vol").open("r+b") as file:
            file.seek(offset)
            file.write(b"\0")
