"""A real engine that kills itself (SIGKILL) at each crash point, on files and a real tgtd.

Each life of it is told beforehand where it will end. Its callers go on until it is dead, and begin
the next life by asking again for what they were not told. What they were told then holds, and
every byte on iSCSI is right.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.crash_points import Point
from clonepool.errors import ClonepoolError, FailedPrecondition
from clonepool.testing.dying_engine import DIE_AT, HOLD_AT, WITNESS
from clonepool.testing.engine_process import EngineProcess
from clonepool.testing.images import make_random_image
from clonepool.testing.initiator import Session
from tests.support.invariants import check_invariants
from tests.support.site import RO_LUN, RW_LUN, Site, initiator_of, is_refused, log_in, write_marker
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.tgt, pytest.mark.slow]

IMAGE, POOL = "image", "pool"
IMAGE_BYTES = 2**20
LIFE_S = 60.0
# points that several kinds of work share are died at in each of them
KINDS: Mapping[Point, tuple[str, ...]] = {
    Point.WORK_CLAIMED: (
        "import_image", "clone_volume", "scrub_volume", "delete_volume", "delete_version",
    ),
    Point.WORK_DONE: (
        "import_image", "clone_volume", "scrub_volume", "delete_volume", "delete_version",
    ),
    Point.WORK_UNDER_WAY: ("import_image", "clone_volume", "scrub_volume"),
}  # fmt: skip


def every_death() -> list[str]:
    """Each place to die at, as the engine is told it."""
    plain = [str(point) for point in Point if point not in KINDS]
    return plain + [f"{point}:{kind}" for point, kinds in KINDS.items() for kind in kinds]


@dataclass(kw_only=True)
class Holder:
    """An attachment as its caller knows it, and what its server wrote."""

    request: pb.CreateAttachmentRequest
    told: pb.Attachment | None = None
    mark: bytes = field(default_factory=lambda: secrets.token_hex(32).encode())
    is_asked_back: bool = False
    is_released: bool = False


class Story:
    """One site through all its lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fate: dict[str, str] = {WITNESS: str(folder / "witness")}
        self.engine = EngineProcess(
            folder / "e", variables=self.fate, program="clonepool.testing.dying_engine"
        )
        self.holders: list[Holder] = []
        self.contents: dict[int, Path] = {}
        self.died_at: list[str] = []
        self.checked = 0
        self._client: EngineClient | None = None
        self._session: Session | None = None

    # lives

    def begin(self, *, die_at: str = "", hold_at: str = "") -> None:
        """Start the engine with its fate; it may die before it serves."""
        (self.folder / "witness").unlink(missing_ok=True)
        for flag in self.folder.glob("hold*"):
            flag.unlink()
        self.fate |= {DIE_AT: die_at, HOLD_AT: hold_at and f"{hold_at}={self.folder / 'hold'}"}
        self._hang_up()
        self.engine.launch()
        try:
            self.engine.await_serving(timeout_s=LIFE_S)
        except FailedPrecondition:
            if not self._is_dead():
                raise
        self._client = EngineClient.connect(
            endpoint=self.engine.endpoint, timeout_s=20, connect_wait_s=0.2
        )

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()

    def _is_dead(self) -> bool:
        return not self.engine.is_running()

    def end(self, die_at: str) -> None:
        """It ended where it was told to, and by no other hand."""
        assert -signal.SIGKILL == self.engine.await_death(timeout_s=LIFE_S)
        assert die_at == (self.folder / "witness").read_text()
        self.died_at.append(die_at)

    @property
    def site(self) -> Site:
        """This life, spoken to."""
        assert self._client is not None
        return Site(engine=self.engine, client=self._client, sources=self.folder / "sources")

    def close(self) -> None:
        """End everything."""
        if self._session is not None:
            self._session.drop()
        self._hang_up()
        self.engine.close()

    # what callers do

    def until_dead(self, act: Callable[[], object]) -> None:
        """Repeat until the engine is dead; errors of a dying engine are nobody's fault."""
        deadline = time.monotonic() + LIFE_S
        while not self._is_dead():
            assert time.monotonic() < deadline, f"it never died: {self.engine.log_tail()}"
            try:
                act()
            except ClonepoolError:
                time.sleep(0.02)

    def build(self) -> None:
        """An image of two portions, a pool of its replicas, and a server that stays."""
        source = make_random_image(self.folder / "ro", size_bytes=IMAGE_BYTES, seed=77)
        spec = pb.ImageSpec(
            name=IMAGE,
            read_only=pb.PortionSpec(source=str(source), format="raw"),
            writable=self._content(1),
            system_user={"name": "acme", "kind": pb.SYSTEM_USER_KIND_CUSTOMER},
        )
        self.site.call("CreateImage", pb.CreateImageRequest(spec=spec, request_token=IMAGE))
        pool = pb.PoolSpec(
            name=POOL,
            master_image=IMAGE,
            min_ready=2,
            max_replicas=5,
            clone_mode="full",
            scrub=pb.ScrubPolicy(threshold=1, method="zero"),
        )
        self.site.call("CreatePool", pb.CreatePoolRequest(spec=pool, request_token=POOL))
        self.attach(self.new_holder())

    def _content(self, number: int) -> pb.PortionSpec:
        path = self.folder / f"rw-{number}"
        if number not in self.contents:
            self.contents[number] = make_random_image(path, size_bytes=IMAGE_BYTES, seed=number)
        return pb.PortionSpec(source=str(path), format="raw")

    def new_holder(self) -> Holder:
        """Somebody wants a server attached."""
        name = f"use-{len(self.holders) + 1}"
        inline = {"name": name, "initiator": initiator_of(name)}
        spec = pb.AttachmentSpec(name=name, pool=POOL, inline_server=inline)
        holder = Holder(request=pb.CreateAttachmentRequest(spec=spec, request_token=name))
        self.holders.append(holder)
        return holder

    def attach(self, holder: Holder) -> None:
        """Ask until attached; the volume is the master's bytes, and then the server's."""
        told = wait_for(lambda: self._asked(holder), what="an attachment", timeout_s=LIFE_S)
        if holder.told is not None:
            assert (holder.told.id, holder.told.volume_id) == (told.id, told.volume_id)
            return
        with log_in(told) as session:
            assert self.contents[told.image_version].read_bytes() == session.dump(lun=RW_LUN)
            assert (self.folder / "ro").read_bytes() == session.dump(lun=RO_LUN)
            write_marker(session, holder.mark)
        holder.told = told

    def _asked(self, holder: Holder) -> pb.Attachment | None:
        answer: pb.Attachment = self.site.call("CreateAttachment", holder.request)
        return answer if answer.volume_id else None

    def release(self, holder: Holder) -> None:
        """Give back; asked again when nobody answered."""
        assert holder.told is not None
        holder.is_asked_back = True
        request = pb.DeleteAttachmentRequest(id=holder.told.id, force=True)
        self.site.call("DeleteAttachment", request)
        holder.is_released = True
        assert is_refused(holder.told)

    def roll_out(self) -> None:
        """Give the image its next content, once the last one is imported."""
        image: pb.MasterImage = self.site.call("GetImage", pb.GetRequest(name=IMAGE))
        if image.latest.state == "importing":
            return
        image.spec.writable.CopyFrom(self._content(image.latest.number + 1))
        self.site.call("UpdateImage", pb.UpdateImageRequest(id=image.id, spec=image.spec))

    def fail_to_roll_out(self) -> None:
        """A content that is not there."""
        image: pb.MasterImage = self.site.call("GetImage", pb.GetRequest(name=IMAGE))
        if image.latest.state == "importing":
            return
        image.spec.writable.source = str(self.folder / f"absent-{image.latest.number}")
        self.site.call("UpdateImage", pb.UpdateImageRequest(id=image.id, spec=image.spec))

    def go_round(self) -> None:
        """Finish what was begun; then attach, roll out, release: all that volumes live through."""
        for holder in self.unfinished():
            if not holder.is_asked_back:
                self.attach(holder)
            self.release(holder)
        holder = self.new_holder()
        self.attach(holder)
        self.roll_out()
        self.release(holder)

    def unfinished(self) -> list[Holder]:
        """All but the one that stays, and those who were told to be released."""
        return [each for each in self.holders[1:] if not each.is_released]

    # what must be

    def check(self) -> None:
        """What was told holds; then, at rest, every invariant."""
        self._check_told()
        for holder in self.unfinished():
            if holder.is_asked_back:
                self.release(holder)
            else:
                self.attach(holder)
        wait_for(self._is_rolled_out, what="old versions to go", timeout_s=LIFE_S)
        check_invariants(self.site)
        self._check_told()
        self._check_marks()
        self.checked = len(self.died_at)

    def _is_rolled_out(self) -> bool:
        """Of the image's versions only those are left that something refers to."""
        image: pb.MasterImage = self.site.call("GetImage", pb.GetRequest(name=IMAGE))
        request = pb.ListImageVersionsRequest(image_id=image.id)
        versions: pb.ListImageVersionsResponse = self.site.call("ListImageVersions", request)
        kept = {image.current.id, image.latest.id}
        ready = {volume.image_version for volume in self.site.volumes(POOL, state="ready")}
        return (
            image.latest.state != "importing"
            and ready == {image.current.number}
            and all(version.volumes or version.id in kept for version in versions.versions)
        )

    def _check_told(self) -> None:
        live = {each.id: each for each in self.site.attachments()}
        for holder in self.holders:
            if holder.told is None:
                continue
            if holder.is_released:
                assert holder.told.id not in live
                assert is_refused(holder.told)
            elif self._is_asked_back(holder, live):
                continue
            else:
                assert holder.told.volume_id == live[holder.told.id].volume_id
                with log_in(holder.told) as session:
                    read = session.read(lun=RW_LUN, lba=0, blocks=1)[: len(holder.mark)]
                assert holder.mark == read

    def _is_asked_back(self, holder: Holder, live: Mapping[str, pb.Attachment]) -> bool:
        """Its release was asked for, and begun or done, and nobody was told."""
        assert holder.told is not None
        found = live.get(holder.told.id)
        if found is not None and found.state == "attached":
            return False
        assert holder is not self.holders[0], "who never gave back lost his attachment"
        assert holder.is_asked_back
        return True

    def _check_marks(self) -> None:
        """What a released server wrote is nowhere any more: all of it was scrubbed."""
        for holder in self.holders:
            if holder.is_released:
                assert [] == self.site.files_with(holder.mark), holder.request.spec.name

    def lose_exports(self) -> None:
        """The daemon that exports dies."""
        tgtd = self.engine.find_tgtd()
        if tgtd is not None:
            tgtd.signal(signal.SIGKILL)
            tgtd.wait_gone(timeout_s=LIFE_S)

    def await_hold(self) -> None:
        """Wait until a thread of the engine stopped where it was told to."""
        wait_for(
            lambda: (self.folder / "hold.held").exists() or self._is_dead(),
            what="a thread at the hold",
            timeout_s=LIFE_S,
        )

    def hold(self) -> None:
        """From now on threads stop there."""
        (self.folder / "hold").touch()

    def let_go(self) -> None:
        """Let them go on."""
        (self.folder / "hold").unlink(missing_ok=True)


@contextmanager
def new_story() -> Iterator[Story]:
    folder = Path(tempfile.mkdtemp(prefix="cp-"))
    story = Story(folder)
    try:
        yield story
    finally:
        try:
            story.close()
        finally:
            shutil.rmtree(folder)


def die_of_a_failed_import(story: Story) -> None:
    story.until_dead(story.fail_to_roll_out)


def die_of_a_cancelled_import(story: Story) -> None:
    """The wish to stop is seen with the next note of progress."""
    story.hold()
    story.until_dead(lambda: _cancel(story))


def _cancel(story: Story) -> None:
    story.roll_out()
    story.await_hold()
    image: pb.MasterImage = story.site.call("GetImage", pb.GetRequest(name=IMAGE))
    story.site.call("CancelOperation", pb.GetRequest(id=image.latest.operation_id))
    # progress is not noted sooner than half a second after the start
    time.sleep(0.6)
    story.let_go()
    wait_for(story._is_dead, what="its end", timeout_s=LIFE_S)


def die_of_lost_exports(story: Story) -> None:
    def lose() -> None:
        story.attach(story.holders[0])
        story.lose_exports()
        wait_for(story._is_dead, what="its end", timeout_s=LIFE_S)

    story.until_dead(lose)


def die_while_an_export_is_made_again(story: Story) -> None:
    """A caller asks before the watcher came round to his export."""
    holder = story.new_holder()
    story.attach(holder)
    story.hold()
    story.lose_exports()
    story.await_hold()
    story.until_dead(lambda: story.site.call("CreateAttachment", holder.request))


def die_of_an_export_left_over(story: Story) -> None:
    """A volume goes while the exports are made anew."""
    holder = story.new_holder()
    story.attach(holder)
    story.hold()
    story.lose_exports()
    story.await_hold()
    story.until_dead(lambda: _release_and_let_go(story, holder))


def _release_and_let_go(story: Story, holder: Holder) -> None:
    story.release(holder)
    story.let_go()
    wait_for(story._is_dead, what="its end", timeout_s=LIFE_S)


def live(story: Story) -> None:
    story.until_dead(story.go_round)


DEATHS: Mapping[str, Callable[[Story], None]] = {
    Point.WORK_FAILED: die_of_a_failed_import,
    Point.WORK_STOPPED: die_of_a_cancelled_import,
    Point.EXPORT_REMAKING: die_of_lost_exports,
    Point.EXPORT_REMADE: die_of_lost_exports,
    Point.EXPORT_TELLING: die_of_lost_exports,
    Point.EXPORTED_AGAIN: die_while_an_export_is_made_again,
    Point.EXPORT_LEFT_OVER: die_of_an_export_left_over,
}
HOLDS: Mapping[str, str] = {
    Point.WORK_STOPPED: f"{Point.WORK_UNDER_WAY}:import_image",
    Point.EXPORTED_AGAIN: Point.EXPORT_REMAKING,
    Point.EXPORT_LEFT_OVER: Point.EXPORT_REMAKING,
}


def test_killed_at_every_crash_point_the_engine_keeps_what_it_told() -> None:
    with new_story() as story:
        story.begin()
        story.build()
        story.engine.kill()
        for die_at in every_death():
            story.begin(die_at=die_at, hold_at=HOLDS.get(die_at, ""))
            # the last death is looked into as soon as this life has come to rest, if it gets there
            with suppress(ClonepoolError):
                story.check()
            if not story._is_dead():
                DEATHS.get(die_at, live)(story)
            story.end(die_at)
        story.begin()
        story.check()
        assert every_death() == story.died_at
        assert {point.value for point in Point} == {
            name.partition(":")[0] for name in story.died_at
        }


def test_a_served_engine_can_not_be_told_to_die_or_to_stop(tmp_path: Path) -> None:
    """`clonepool serve` reads none of the variables that the test's own program reads."""
    folder, hold = Path(tempfile.mkdtemp(prefix="cp-")), tmp_path / "hold"
    hold.touch()
    everywhere = str(Point.COMMITTED)
    variables = {DIE_AT: everywhere, HOLD_AT: f"{everywhere}={hold}", WITNESS: str(tmp_path / "w")}
    try:
        with (
            EngineProcess(folder / "e", variables=variables) as engine,
            engine.client(timeout_s=20) as client,
        ):
            Site(engine=engine, client=client, sources=folder / "sources").image()
            assert engine.is_running()
        assert [hold] == list(tmp_path.iterdir())
    finally:
        shutil.rmtree(folder)
