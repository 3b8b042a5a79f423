"""A replica whose object is gone is claimed, and the engine dies before it says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clonepool.domain.model import ScrubPolicy
from clonepool.domain.states import VolumeState
from tests.crash.drifting import DriftingWorld, new_world
from tests.crash.rest import check_rest
from tests.crash.users import Known, Use

_INSTANTS = 200


@contextmanager
def asking() -> Iterator[tuple[DriftingWorld, Use]]:
    """One replica is ready; somebody is about to ask for one."""
    with new_world() as world:
        world.create_image("image")
        world.work()
        policy = ScrubPolicy(threshold=9)
        world.create_pool("pool", image="image", scrub=policy, min_ready=1, max_replicas=3)
        world.settle()
        yield world, world.new_use("pool", server=1, user=0)


def test_a_death_at_any_instant_of_a_refusal_leaves_nothing_attaching() -> None:
    """What was claimed is taken back by the next engine, and asked again there is another one."""
    for instant in range(_INSTANTS):
        with asking() as (world, use):
            (lost,) = world.volumes(VolumeState.READY)
            world.lose_object(lost)
            world.die_in = [instant]
            world.ask(use)
            has_died = not world.die_in
            world.settle()
            assert [] == list(world.rows().attachments)
            world.compare_to_the_end()
            world.settle_and_ask(use)
            assert use.told is not None
            assert lost.id != use.told.volume_id
            world.mend_faulty()
            check_rest(world)
        if not has_died:
            assert instant > 3, "it was refused before anything was durable"
            return
    raise AssertionError("a refusal has no end")


def test_what_its_server_uses_already_is_not_taken_back() -> None:
    """Its caller was told; that it was is not durable yet when the engine dies."""
    with asking() as (world, use):
        world.ask(use)
        assert Known.ATTACHED is use.known
        world.kill()
        (used,) = world.volumes(VolumeState.ATTACHING)
        world.lose_object(used)
        world.settle()
        assert [used.id] == [each.id for each in world.volumes(VolumeState.ALLOCATED)]
        world.check()
        world.release(use, force=True)
        world.compare_to_the_end()
        world.mend_faulty()
        check_rest(world)
