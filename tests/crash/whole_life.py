"""One life that goes through everything that an engine does for a site."""

from __future__ import annotations

from clonepool.crash_points import Point
from clonepool.domain.model import ScrubPolicy
from clonepool.domain.states import AfterScrub, ScrubMethod, VerifyMode, VolumeState
from clonepool.errors import Unavailable
from tests.crash.drifting import DriftingWorld
from tests.crash.rest import check_rest
from tests.crash.rows import Row
from tests.crash.users import Known, Use

_LOOK_S = 600.0  # as far as one look counts for a quarantine
_LOOKS = 7


def live_a_whole_life(world: DriftingWorld) -> None:
    """Everything that an engine does for a volume, a version and a lost export."""
    world.create_image("image")
    world.work()
    policy = ScrubPolicy(threshold=1, method=ScrubMethod.ZERO, then=AfterScrub.RECYCLE)
    world.create_pool("pool", image="image", scrub=policy, min_ready=1, max_replicas=3)
    world.settle()
    first = world.new_use("pool", server=1, user=0)
    world.ask(first)
    world.flush()
    world.lose_exports()
    world.ask(first)
    world.lose_exports()
    world.watch()
    world.restart()
    world.change_image("image")
    check_rest(world)
    world.release(first, force=True)
    check_rest(world)
    die_in_the_middle(world)
    wait_in_a_queue(world)
    fill_to_the_brim(world)
    scrub_and_read_back(world)
    come_back(world)
    hold_for_tickets(world)
    drift(world)
    world.fail_next_clone(Unavailable("the storage is away"))
    world.stop_next_clone()
    world.lose_volume_while_exports_are_remade("pool")
    world.delete_pool("pool")
    world.settle()
    world.delete_image("image")
    world.settle()


def die_in_the_middle(world: DriftingWorld) -> None:
    """What a dead engine was granting is granted, what it was releasing is released."""
    used = world.new_use("pool", server=1, user=0)
    world.die_at = Point.GRANTED
    world.ask(used)
    assert Known.ASKED is used.known
    check_rest(world)
    world.ask_as_another(used)
    world.ask(used)
    world.die_at = Point.REVOKED
    world.release(used, force=True)
    assert Known.RELEASING is used.known
    check_rest(world)
    assert [] == list(world.rows().attachments)
    world.release(used, force=True)


def wait_in_a_queue(world: DriftingWorld) -> None:
    """First come, first served, whoever polls first."""
    holders = [world.new_use("pool", server=server, user=0) for server in range(3)]
    for holder in holders:
        world.settle_and_ask(holder)
    first, second = (world.new_use("pool", server=server, user=1) for server in (4, 5))
    for waiter in (first, second):
        world.ask(waiter)
    world.release(holders[0], force=True)
    world.work_off()
    world.ask(second)
    assert Known.WAITING is second.known
    world.ask(first)
    assert Known.ATTACHED is first.known
    for holder in (first, *holders[1:]):
        world.release(holder, force=True)
    check_rest(world)


def fill_to_the_brim(world: DriftingWorld) -> None:
    """A scrub makes only so many ready again as there is room for beside those in use."""
    policy = ScrubPolicy(threshold=2, then=AfterScrub.RECYCLE)
    world.create_pool("brim", image="image", scrub=policy, min_ready=2, max_replicas=3)
    uses = [world.new_use("brim", server=server, user=0) for server in (6, 7, 8)]
    for use in uses:
        world.settle_and_ask(use)
    for use in uses:
        world.release(use, force=True)
        check_rest(world)
    world.delete_pool("brim")
    check_rest(world)


def scrub_and_read_back(world: DriftingWorld) -> None:
    """By each method; what was not erased, or not made as it should be, is done again."""
    for method in ScrubMethod:
        policy = ScrubPolicy(threshold=1, method=method, verify=VerifyMode.FULL)
        pool = f"verified-{method}"
        world.create_pool(pool, image="image", scrub=policy, min_ready=1, max_replicas=1)
        first = world.new_use(pool, server=1, user=0)
        world.settle_and_ask(first)
        world.flush()
        world.spoil_next(method)
        world.release(first, force=True)
        world.work_off()
        assert world.volumes(VolumeState.SCRUBBING), "what was not erased is not scrubbed"
        check_rest(world)
        second = world.new_use(pool, server=1, user=1)
        world.settle_and_ask(second)
        assert second.told is not None
        assert 2 <= second.told.volume_generation
        world.die_at = Point.SCRUB_REMADE if method is ScrubMethod.REFORMAT else Point.SCRUB_ERASED
        world.release(second, force=True)
        while world.die_at is not None:
            world.look()
            world.work()
        # what follows is made before its row says so; and then it is of an old version
        world.compare()
        world.change_image("image")
        check_rest(world)
        world.delete_pool(pool)
        check_rest(world)


def come_back(world: DriftingWorld) -> None:
    """A release undone; an attachment resumed, by its own system user only; too late for both."""
    policy = ScrubPolicy(threshold=3, method=ScrubMethod.ZERO, undo_window_s=60, max_age_s=300)
    world.create_pool("back", image="image", scrub=policy, min_ready=1, max_replicas=4)
    use = world.new_use("back", server=1, user=0)
    world.settle_and_ask(use)
    world.release(use, force=True)
    world.scrub("back")
    world.undo(use)
    assert Known.ATTACHED is use.known
    world.undo(use)
    volume_id = _volume(use)
    world.release(use, force=True)
    world.resume(use, user=0)
    assert volume_id == _volume(use)
    world.release(use, force=True)
    world.resume(use, user=1)
    world.settle_and_ask(use)
    assert volume_id != _volume(use)
    world.release(use, force=True)
    world.advance(301.0)
    world.look()
    assert world.volumes(VolumeState.SCRUBBING)
    world.undo(use)
    assert Known.RELEASED is use.known
    world.resume(use, user=1)
    world.settle_and_ask(use)
    world.release(use, force=True)
    world.delete_pool("back")
    check_rest(world)


def _volume(use: Use) -> str:
    assert use.told is not None, use
    return use.told.volume_id


def hold_for_tickets(world: DriftingWorld) -> None:
    """Nobody without the ticket gets what is held; what is given back, or over, is anybody's."""
    policy = ScrubPolicy(threshold=9)
    world.create_pool("held", image="image", scrub=policy, min_ready=2, max_replicas=4)
    world.settle()
    token = world.hold("held", count=2, seconds=600.0)
    stranger = world.new_use("held", server=1, user=0)
    world.ask(stranger)
    assert Known.WAITING is stranger.known
    holders = [world.new_use("held", server=server, user=0) for server in (2, 3)]
    for holder in holders:
        holder.ticket = token
        world.ask(holder)
        assert Known.ATTACHED is holder.known
    world.work_off()
    world.ask(stranger)
    assert Known.ATTACHED is stranger.known
    world.release_hold(token)
    world.hold("held", count=1, seconds=30.0)
    world.kill()
    world.check()
    world.advance(31.0)
    check_rest(world)
    for holder in (stranger, *holders):
        world.release(holder, force=True)
    world.hold("held", count=2, seconds=300.0)
    check_rest(world)
    world.delete_pool("held")
    check_rest(world)


def drift(world: DriftingWorld) -> None:
    """A comparison finds what is too much, and what is missing; an operator mends what it can't."""
    policy = ScrubPolicy(threshold=9)
    world.create_pool("drift", image="image", scrub=policy, min_ready=2, max_replicas=4)
    use = world.new_use("drift", server=1, user=0)
    world.settle_and_ask(use)
    world.settle()
    for number in range(3):
        world.lose_target(number)
    world.compare()
    world.check()
    stray = world.add_stray()
    for after in AfterScrub:
        world.lose_object(_of_pool(world, "drift", VolumeState.READY))
        world.compare()
        world.mend_faulty(after)
        check_rest(world)
    world.release(use, force=True)
    world.lose_object(_of_pool(world, "drift", VolumeState.RELEASED))
    world.compare()
    world.undo(use)
    assert Known.RELEASED is use.known
    world.mend_faulty()
    check_rest(world)
    for _ in range(_LOOKS):
        world.compare()
        world.advance(_LOOK_S)
    world.compare()
    assert stray not in world.machine.storage._objects
    world.delete_pool("drift")
    check_rest(world)


def _of_pool(world: DriftingWorld, name: str, state: VolumeState) -> Row:
    pool = next(each for each in world.rows().pools if each.name == name)
    return next(each for each in world.volumes(state) if each.pool_id == pool.id)
