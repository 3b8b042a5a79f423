"""One site through many lives of its engine: callers who were told, servers that read and write."""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, FailedPrecondition
from clonepool.testing.dying_engine import DIE_AT, HOLD_AT, WITNESS
from clonepool.testing.engine_process import EngineProcess
from clonepool.testing.images import make_random_image
from tests.support.invariants import check_invariants
from tests.support.site import RO_LUN, RW_LUN, Site, initiator_of, is_refused, log_in, write_marker
from tests.support.waiting import wait_for

IMAGE, POOL = "image", "pool"
IMAGE_BYTES = 2**20
STRAY = "vol-0b5f2a3c-1111-4222-8333-444455556666-g1"
LIFE_S = 60.0
# a call that waits for a thread that is held is given up
CALL_S = 4.0


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
        self.fate: dict[str, str] = {
            WITNESS: str(folder / "witness"),
            "CLONEPOOL_COMPARE_EVERY": "1s",
            "CLONEPOOL_ORPHAN_GRACE": "2s",
        }
        self.engine = EngineProcess(
            folder / "e", variables=self.fate, program="clonepool.testing.dying_engine"
        )
        self.holders: list[Holder] = []
        self.contents: dict[int, Path] = {}
        self.died_at: list[str] = []
        self.checked = 0
        self._client: EngineClient | None = None

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
            if not self.is_dead():
                raise
        self._client = EngineClient.connect(
            endpoint=self.engine.endpoint, timeout_s=20, connect_wait_s=0.2
        )

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()

    def is_dead(self) -> bool:
        """Whether this life is over."""
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
        """End everything; a thread that is held would keep the engine from ending."""
        self.let_go()
        self._hang_up()
        self.engine.close()

    # what callers do

    def until_dead(self, act: Callable[[], object]) -> None:
        """Repeat until the engine is dead; errors of a dying engine are nobody's fault."""
        deadline = time.monotonic() + LIFE_S
        while not self.is_dead():
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
            system_user=pb.SystemUser(name="acme", kind=pb.SYSTEM_USER_KIND_CUSTOMER),
        )
        self.site.call("CreateImage", pb.CreateImageRequest(spec=spec, request_token=IMAGE))
        pool = pb.PoolSpec(
            name=POOL,
            master_image=IMAGE,
            min_ready=2,
            max_replicas=5,
            clone_mode="full",
            scrub=pb.ScrubPolicy(threshold=1, method="zero", verify="full"),
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
        inline = pb.ServerSpec(name=name, initiator=initiator_of(name))
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
        self.site.call("DeleteAttachment", request, timeout_s=CALL_S)
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

    def reformat(self) -> None:
        """Scrub so from now on, and fill the pool to its brim: what is scrubbed is used again."""
        self.site.change_pool(POOL, min_ready=4, scrub=pb.ScrubPolicy(method="reformat"))

    def lose_object(self) -> None:
        """Somebody deletes the file of a replica that is ready."""
        for volume in self.site.volumes(POOL, state="ready")[:1]:
            self.site.object_of(volume).unlink(missing_ok=True)

    def leave_object(self) -> None:
        """Somebody puts a file of ours there that no row accounts for."""
        (self.engine.storage / "volumes/full" / STRAY).write_bytes(bytes(4096))

    def mend(self) -> None:
        """An operator has what is faulty made anew, and waits for the end of what nobody knows."""
        for volume in self.site.volumes(POOL, state="faulty"):
            self.site.call("RetryVolume", pb.GetRequest(id=volume.id))
        wait_for(lambda: STRAY not in self.site.objects(), what="no stray", timeout_s=LIFE_S)

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
        self.mend()
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
            lambda: (self.folder / "hold.held").exists() or self.is_dead(),
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
