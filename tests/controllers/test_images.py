"""Master images: imported once, versioned in place, gone when nothing refers to them."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import ImageSpec, PageRequest, PortionSpec, Ref
from clonepool.domain.states import OperationState, VersionState, VolumeState
from clonepool.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES, USER, EngineRig

V = VolumeState


def memory(rig: EngineRig) -> MemoryBackend:
    assert isinstance(rig.storage, MemoryBackend)
    return rig.storage


def objects(rig: EngineRig) -> set[str]:
    return {item.name for item in rig.storage.list() if item.name.startswith("img-")}


def numbers(rig: EngineRig) -> list[int]:
    found = rig.engine.images.versions(image_id=rig.image().id)
    return [version.number for version, _operation, _volumes in found]


def declare(rig: EngineRig, *, source: str) -> str:
    spec = ImageSpec(
        name="web", system_user=USER, writable=PortionSpec(source=source, format="raw")
    )
    return rig.engine.images.create(spec=spec, token="t").id


def wait_failed(rig: EngineRig) -> None:
    rig.wait_for(lambda: rig.image().latest.state is VersionState.FAILED, what=rig.image)


class Gate:
    """Holds the import at its beginning until it is opened."""

    def __init__(self, rig: EngineRig) -> None:
        self._rig = rig
        self.begun = threading.Event()
        self._open = threading.Event()
        memory(rig).on_step = self._step

    def _step(self, step: str, _name: str) -> None:
        if step == "import.begin":
            self.begun.set()
            assert self._open.wait(20)

    def open(self) -> None:
        memory(self._rig).on_step = lambda _step, _name: None
        self._open.set()


def test_both_portions_are_imported_with_size_and_digest(rig: EngineRig) -> None:
    image = rig.add_image(read_only=rig.portion("ro", fill=b"shared"))
    assert image.current is not None
    assert image.current.read_only is not None
    assert image.current.writable is not None
    assert DEFAULT_IMAGE_BYTES == image.current.writable.size_bytes
    assert image.current.read_only.digest != image.current.writable.digest
    assert objects(rig) == {
        image.current.read_only.object_name,
        image.current.writable.object_name,
    }
    assert rig.events("IMAGE_IMPORTED")


def test_an_import_that_fails_says_why_and_declaring_it_again_tries_again(
    rig: EngineRig,
) -> None:
    source = str(rig.folder / "late")
    image_id = declare(rig, source=source)
    wait_failed(rig)
    assert "late" in rig.image().latest.error
    assert rig.events("IMPORT_FAILED")
    assert rig.image().current is None
    rig.source("late", b"golden" * 1000)
    assert image_id == declare(rig, source=source)
    rig.wait_imported("web", number=1)
    assert "" == rig.image().latest.error


def test_the_same_name_by_someone_else_is_refused(rig: EngineRig) -> None:
    image = rig.add_image()
    with pytest.raises(AlreadyExists) as refused:
        rig.engine.images.create(spec=image.spec, token="another")
    assert {"id": image.id, "same_token": "false"} == refused.value.metadata
    assert image.id == rig.engine.images.create(spec=image.spec, token="token-web").id


def test_labels_change_in_place(rig: EngineRig) -> None:
    image = rig.add_image()
    spec = rig.portion("web-rw")
    assert spec == image.spec.writable
    rig.update_image(labels={"a": "b"})
    assert ({"a": "b"}, [1]) == (rig.image().spec.labels, numbers(rig))


@pytest.mark.parametrize(
    ("field", "value"), [("name", "other"), ("storage", "other"), ("system_user", None)]
)
def test_what_an_image_is_bound_to_cannot_change(rig: EngineRig, field: str, value: object) -> None:
    image = rig.add_image()
    spec = replace(image.spec, **{field: value})
    with pytest.raises(InvalidArgument) as refused:
        rig.engine.images.update(image_id=image.id, spec=spec)
    assert [field] == [violation.field for violation in refused.value.violations]


def test_changed_content_rolls_out_to_ready_replicas_and_leaves_attached_ones(
    web: EngineRig,
) -> None:
    web.add_pool(min_ready=3)
    attached = web.attach_and_wait("a")
    web.wait_ready(3)
    web.update_image(writable=web.portion("second", fill=b"silver"))
    web.wait_ready(3)
    assert {2} == {volume.image_version for volume in web.volumes(state="ready")}
    assert 1 == web.volume(attached.volume_id).image_version
    assert [1, 2] == numbers(web), "the old version is still in use"
    web.release(attached)
    web.engine.scrub.start(pool="web")
    web.wait_for(lambda: numbers(web) == [2], what=lambda: numbers(web))
    web.wait_for(lambda: len(objects(web)) == 1, what=lambda: objects(web))


def test_a_rollout_replaces_max_unavailable_at_a_time(web: EngineRig) -> None:
    """Seen from the side: never fewer than min_ready less max_unavailable are ready."""
    web.add_pool(min_ready=4, max_unavailable=1)
    fewest = []
    memory(web).on_step = lambda step, _name: (
        fewest.append(web.count(V.READY)) if step == "clone.begin" else None
    )
    web.update_image(writable=web.portion("second"))
    web.wait_ready(4)
    assert 4 == len(fewest)
    assert 3 == min(fewest)


def test_a_version_that_cannot_be_cloned_stops_the_rollout_at_once(web: EngineRig) -> None:
    web.add_pool(min_ready=4, max_unavailable=1)

    def fail(step: str, _name: str) -> None:
        if step == "clone.begin":
            raise FailedPrecondition("the new version is broken")

    memory(web).on_step = fail
    web.update_image(writable=web.portion("second"))

    web.pass_time_until(lambda: web.pool().stopped_reason, what=web.pool)
    assert 3 == web.count(V.READY)
    assert {1} == {volume.image_version for volume in web.volumes(state="ready")}


def test_a_pinned_version_stays_and_is_handed_out(web: EngineRig) -> None:
    web.add_pool(min_ready=2, image_version=1)
    web.add_pool("newest", min_ready=1)
    web.update_image(writable=web.portion("second", fill=b"silver"))
    web.wait_ready(1, pool="newest")
    assert 1 == web.attach_and_wait("a").image_version
    web.wait_ready(2)
    assert {1} == {volume.image_version for volume in web.volumes(pool="web")}
    web.update_pool(image_version=0)
    web.wait_ready(2)
    assert {2} == {volume.image_version for volume in web.volumes(pool="web", state="ready")}


def test_a_pinned_version_is_kept_without_volumes(web: EngineRig) -> None:
    web.add_pool(min_ready=0, image_version=1)
    web.update_image(writable=web.portion("second"))
    web.wake()
    assert 1 == web.attach_and_wait("a").image_version


def test_pinning_what_is_not_there_is_refused(web: EngineRig) -> None:
    for version in (2, 99):
        with pytest.raises(InvalidArgument, match="image_version"):
            web.add_pool(image_version=version)
    web.add_pool(min_ready=0)
    with pytest.raises(InvalidArgument, match="image_version"):
        web.update_pool(image_version=2)


def test_an_old_version_that_nothing_refers_to_goes(rig: EngineRig) -> None:
    rig.add_image()
    rig.update_image(writable=rig.portion("second"))
    rig.wait_for(lambda: numbers(rig) == [2], what=lambda: numbers(rig))
    rig.wait_for(lambda: len(objects(rig)) == 1, what=lambda: objects(rig))


def test_a_failed_new_version_leaves_the_current_one_serving(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    spec = web.image().spec
    broken = PortionSpec(source=str(web.folder / "nowhere"), format="raw")
    changed = ImageSpec(name="web", system_user=spec.system_user, writable=broken)
    web.engine.images.update(image_id=web.image().id, spec=changed)
    wait_failed(web)
    current = web.image().current
    assert current is not None
    assert (1, 2) == (current.number, web.image().latest.number)
    assert 1 == web.attach_and_wait("a").image_version
    web.wake()
    assert [1, 2] == numbers(web), "its error is what the user has to read"


def test_going_back_to_the_old_content_is_a_new_version(rig: EngineRig) -> None:
    first = rig.add_image().spec.writable
    rig.update_image(writable=rig.portion("second"))
    assert 3 == rig.update_image(writable=first).latest.number


def test_an_image_in_use_is_not_deleted(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    with pytest.raises(FailedPrecondition, match="pools web"):
        web.engine.images.delete(image_id=web.image().id)


def test_behind_a_deleted_pool_and_image_everything_goes_and_the_names_are_free_at_once(
    web: EngineRig,
) -> None:
    pool = web.add_pool(min_ready=2)
    image = web.image()
    attached = web.attach_and_wait("a")
    web.release(attached)
    released = web.volume(attached.volume_id)
    for _ in range(2):
        web.engine.pools.delete(pool_id=pool.id)
        web.engine.images.delete(image_id=image.id)
    with pytest.raises(NotFound):
        web.pool()
    again = web.add_image()
    assert again.id != image.id
    assert web.add_pool(min_ready=1).id != pool.id
    web.wait_for(lambda: len(web.volumes()) == 1, what=web.volumes)
    web.wait_for(lambda: len(objects(web)) == 1, what=lambda: objects(web))
    assert ["deletion"] == [run.trigger for run in web.runs()]
    found, _token = web.engine.scrub.list_records(page=PageRequest())
    assert [(released.id, USER)] == [(each.volume_id, each.system_user) for each in found]
    assert 1 == len(web.fabric.list())


def test_tombstones_leave_no_row_behind(web: EngineRig) -> None:
    pool = web.add_pool(min_ready=2)
    web.engine.pools.delete(pool_id=pool.id)
    web.engine.images.delete(image_id=web.image().id)
    tables = ("image", "image_version", "pool", "volume")

    def rows() -> dict[str, int]:
        with web.engine._state.read() as session:
            connection = session.connection()
            return {
                table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()  # noqa: S608
                for table in tables
            }

    web.wait_for(lambda: set(rows().values()) == {0}, what=rows)
    assert [] == list(web.storage.list())
    assert frozenset() == web.fabric.list()


def test_an_image_deleted_while_it_is_imported_goes_when_the_import_ends(rig: EngineRig) -> None:
    gate = Gate(rig)
    image_id = declare(rig, source=rig.source("rw", b"golden" * 1000))
    assert gate.begun.wait(20)
    rig.engine.images.delete(image_id=image_id)
    gate.open()
    rig.wait_for(lambda: objects(rig) == set(), what=lambda: objects(rig))
    with pytest.raises(NotFound):
        rig.image()


def test_a_cancelled_import_fails_and_can_be_begun_again(rig: EngineRig) -> None:
    gate = Gate(rig)
    source = rig.source("rw", b"golden" * 1000)
    image_id = declare(rig, source=source)
    assert gate.begun.wait(20)
    ((_version, operation, _volumes),) = rig.engine.images.versions(image_id=image_id)
    assert operation is not None
    rig.engine.operations.cancel(ref=Ref(id=operation.id))
    rig.clock.advance(1)
    gate.open()
    wait_failed(rig)
    ended = rig.engine.operations.get(ref=Ref(id=operation.id))
    assert OperationState.CANCELLED is ended.state
    assert "cancelled" in rig.image().latest.error
    assert ended == rig.engine.operations.cancel(ref=Ref(id=operation.id)), "it has ended"
    declare(rig, source=source)
    rig.wait_imported("web", number=1)


def test_an_import_that_has_not_begun_can_be_cancelled_too(rig: EngineRig) -> None:
    rig.close()
    rig.open(start=False)
    image_id = declare(rig, source=rig.source("rw", b"golden" * 1000))
    ((_version, operation, _volumes),) = rig.engine.images.versions(image_id=image_id)
    assert operation is not None
    rig.engine.operations.cancel(ref=Ref(id=operation.id))
    rig.reopen()
    wait_failed(rig)
    ended = rig.engine.operations.get(ref=Ref(id=operation.id))
    assert OperationState.CANCELLED is ended.state


def test_images_and_pools_are_listed_by_name_page_by_page(rig: EngineRig) -> None:
    for name in ("b1", "a1", "a2"):
        rig.add_image(name)
        rig.add_pool(name, master_image=name, min_ready=0)
    for listed in (rig.engine.images.list, rig.engine.pools.list):
        first, token = listed(page=PageRequest(size=2))
        rest, end = listed(page=PageRequest(size=2, token=token))
        assert ["a1", "a2", "b1"] == [each.spec.name for each in (*first, *rest)]
        assert "" == end
        some, _token = listed(page=PageRequest(name_prefix="a"))
        assert ["a1", "a2"] == [each.spec.name for each in some]


@pytest.mark.parametrize(
    ("field", "value"), [("name", "other"), ("master_image", "other"), ("fabric", "local")]
)
def test_what_a_pool_is_bound_to_cannot_change(web: EngineRig, field: str, value: str) -> None:
    web.add_pool(min_ready=0)
    with pytest.raises((InvalidArgument, NotFound)):
        web.update_pool(**{field: value})
    assert "web" == web.pool().spec.name


def test_declaring_a_pool_again_is_the_same_pool(web: EngineRig) -> None:
    pool = web.add_pool(min_ready=1)
    assert pool.id == web.engine.pools.create(spec=pool.spec, token="token-web").id
    with pytest.raises(AlreadyExists) as refused:
        web.engine.pools.create(spec=pool.spec, token="another")
    assert {"id": pool.id, "same_token": "false"} == refused.value.metadata


def test_an_engine_imports_over_the_schemes_that_it_is_told(rig: EngineRig) -> None:
    rig.settings = replace(rig.settings, import_schemes=frozenset({"https"}))
    rig.reopen()
    declare(rig, source="http://127.0.0.1:1/image")
    wait_failed(rig)
    assert "nothing is imported over http by this engine" in rig.image().latest.error
