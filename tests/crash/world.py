"""A site in memory: an engine that may die at any instant, its callers, and what they were told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from clonepool.domain.holds import Wanted
from clonepool.domain.model import (
    Attachment,
    AttachmentSpec,
    ImageSpec,
    PoolSpec,
    PortionSpec,
    Ref,
    ScrubPolicy,
    ServerSpec,
)
from clonepool.domain.states import AttachmentState
from clonepool.errors import ClonepoolError
from clonepool.testing.engines import FABRIC
from tests.crash.lives import Lives
from tests.crash.users import IMAGE_BYTES, USERS, Known, Ticket, Use, golden, used_by


class World(Lives):
    """What callers do to an engine, each act at the risk of its death."""

    def new_name(self, word: str) -> str:
        """A name that was never used."""
        self._numbers[word] += 1
        return f"{word}-{self._numbers[word]}"

    def _image(self, name: str, number: int) -> ImageSpec:
        """A shared image: its pools have volumes or, without a writable portion, slots."""
        portion = self._portion(number)
        if self.has_slots:
            return ImageSpec(name=name, read_only=portion)
        return ImageSpec(name=name, writable=portion)

    def _portion(self, number: int) -> PortionSpec:
        path = self.machine.folder / f"golden-{number}"
        if not path.exists():
            path.write_bytes(golden(number))
        return PortionSpec(source=str(path), format="raw")

    def create_image(self, name: str) -> None:
        """Declare a shared master image, or repeat it."""
        spec = self._image(name, 1)
        if _is_answer(self.act(lambda: self.life.engine.images.create(spec=spec, token=name))):
            self.told.images.add(name)

    def change_image(self, name: str) -> None:
        """Give an image its next content, or begin a failed import again."""
        images = self.life.engine.images
        before = self.act(lambda: images.get(ref=Ref(name=name)))
        if not _is_answer(before):
            return
        spec = self._image(name, before.latest.number + 1)
        self.act(lambda: images.update(image_id=before.id, spec=spec))

    def delete_image(self, name: str) -> None:
        """Delete an image; refused while pools use it."""
        images = self.life.engine.images
        found = self.act(lambda: images.get(ref=Ref(name=name)))
        if not _is_answer(found):
            return
        was_told = name in self.told.images
        self.told.images.discard(name)
        answer = self.act(lambda: images.delete(image_id=found.id) or True)
        if answer is True:
            self.told.gone.add(found.id)
        elif was_told and isinstance(answer, ClonepoolError):
            self.told.images.add(name)

    def create_pool(self, name: str, *, image: str, scrub: ScrubPolicy, **changes: Any) -> None:
        """Declare a pool, or repeat it."""
        spec = PoolSpec(name=name, master_image=image, fabric=FABRIC, scrub=scrub, **changes)
        if _is_answer(self.act(lambda: self.life.engine.pools.create(spec=spec, token=name))):
            self.told.pools.add(name)

    def delete_pool(self, name: str) -> None:
        """Delete a pool; refused while it has attachments."""
        pools = self.life.engine.pools
        found = self.act(lambda: pools.get(ref=Ref(name=name)))
        if not _is_answer(found):
            return
        was_told = name in self.told.pools
        self.told.pools.discard(name)
        answer = self.act(lambda: pools.delete(pool_id=found.id) or True)
        if answer is True:
            self.told.gone.add(found.id)
        elif was_told and isinstance(answer, ClonepoolError):
            self.told.pools.add(name)

    def scrub(self, pool: str) -> None:
        """Ask for a scrub run."""
        self.act(lambda: self.life.engine.scrub.start(pool=pool))

    def new_use(self, pool: str, *, server: int, user: int) -> Use:
        """Somebody wants an attachment; ``ask`` asks for it."""
        name = self.new_name("use")
        inline = ServerSpec(name=f"server-{server}", initiator=f"iqn.2026-01.test:{server}")
        spec = AttachmentSpec(name=name, pool=pool, system_user=USERS[user], inline_server=inline)
        self.told.uses[name] = Use(spec=spec, token=name)
        return self.told.uses[name]

    def ask(self, use: Use) -> None:
        """The caller asks, or asks again with the same token; what it is told must hold."""
        attachments = self.life.engine.attachments
        served = {each.name for each in self.rows().attachments if each.volume_id}
        ticket = self.told.tickets.get(use.ticket)
        hold = ticket.id if ticket else ""
        if ticket:
            ticket.in_doubt += 1
        answer = self.act(lambda: attachments.create(spec=use.spec, token=use.token, hold=hold))
        if ticket and answer is not None:
            ticket.in_doubt -= 1
        if not _is_answer(answer):
            return
        if answer.state is AttachmentState.ATTACHED:
            from_stock = use.name not in served and answer.resumed_release is None
            if ticket and from_stock and not answer.hold_note:
                ticket.used += 1
            elif from_stock and not self.is_concurrent:
                self._check_turn(use, answer)
            self._told_attached(use, answer)
        elif answer.state is AttachmentState.WAITING:
            assert use.known is not Known.ATTACHED, f"{use.name} had a volume, and waits again"
            use.known, use.place = Known.WAITING, answer.place
            use.polled_at = self.machine.clock()

    def _told_attached(self, use: Use, answer: Attachment) -> None:
        key = (answer.volume_id, answer.volume_generation)
        if use.known is Known.ATTACHED and use.told is not None:
            told = (use.told.volume_id, use.told.volume_generation)
            assert (told, use.told.chap) == (key, answer.chap), "a repetition was told otherwise"
            return
        held = {} if self.has_slots else self.told.held
        assert held.setdefault(key, use.owner) == use.owner, f"{key} was handed out twice"
        if answer.resumed_release is None:
            self._check_fresh(use, answer)
        else:
            self._check_own(use, answer)
        use.known, use.told = Known.ATTACHED, answer
        self.check()

    def _check_fresh(self, use: Use, answer: Attachment) -> None:
        """Every byte is the master image's: the caller was not told yet, so nobody wrote."""
        if self.has_slots:
            return
        kept = self.machine.storage.open(name=f"vol-{answer.volume_id}-g{answer.volume_generation}")
        expected = golden(answer.image_version)
        found = kept.read_at(0, IMAGE_BYTES)
        assert expected == found, (
            f"{use.name} got {found[:48]!r}, not version {answer.image_version}"
        )

    def _check_own(self, use: Use, answer: Attachment) -> None:
        """Every byte is what this very user's server left there."""
        if use.wrote != (answer.volume_id, answer.volume_generation, use.owner):
            self._check_fresh(use, answer)
            return
        kept = self.machine.storage.open(name=f"vol-{answer.volume_id}-g{answer.volume_generation}")
        found = kept.read_at(0, IMAGE_BYTES)
        assert used_by(use.owner, answer.image_version) == found, f"{use.name} got {found[:48]!r}"

    def _check_turn(self, use: Use, answer: Attachment) -> None:
        """Those who came before, and tickets, have a ready replica each, or were served."""
        rows = self.rows()
        row = next(each for each in rows.attachments if each.id == answer.id)
        now = self.machine.clock()
        ahead = [
            each
            for each in rows.attachments
            if each.pool_id == row.pool_id and each.state == "waiting" and each.n < row.n
            and each.lease_until > now
        ]  # fmt: skip
        pool = next(each for each in rows.pools if each.id == row.pool_id)
        image = next(each for each in rows.images if each.id == pool.image_id)
        ready = [
            volume
            for volume in rows.volumes
            if volume.pool_id == row.pool_id and volume.state == "ready"
            and volume.image_version_id == image.current_version_id
        ]  # fmt: skip
        names = [each.name for each in ahead]
        held = rows.held_of(pool.id, now=now)
        text = f"{use.name} was served before {names} and {held} held of {len(ready)}"
        assert len(ahead) + held <= len(ready), text

    def ask_as_another(self, use: Use) -> None:
        """A caller who has only the name must not get what another one has."""
        attachments = self.life.engine.attachments
        is_taken = any(each.name == use.name for each in self.rows().attachments)
        if is_taken:
            answer = self.act(lambda: attachments.create(spec=use.spec, token="another"))
            assert not _is_answer(answer), f"{use.name} was given to another caller, too"

    def release(self, use: Use, *, force: bool) -> None:
        """The caller gives back; one who doesn't force has the server shut down first."""
        attachments = self.life.engine.attachments
        if use.told is None:
            return
        if not force:
            use.shut_down()
        if use.known in {Known.ATTACHED, Known.UNDOING}:
            use.known = Known.RELEASING
        attachment_id = use.told.id
        answer = self.act(
            lambda: attachments.delete(attachment_id=attachment_id, force=force) or True
        )
        if answer is True:
            # it may be on its way back already
            use.known = Known.UNDOING if use.undos else Known.RELEASED
            self.check()

    # what comes back, and what is held

    def undo(self, use: Use) -> None:
        """The caller wants back what he released: that very volume, or nothing."""
        attachments = self.life.engine.attachments
        told = use.told
        if told is None or use.known not in {Known.RELEASED, Known.UNDOING}:
            return
        use.known, use.is_quiet = Known.UNDOING, False
        use.undos += 1
        answer = self.act(lambda: attachments.undo_release(attachment=told.id))
        use.undos -= 1
        if _is_answer(answer):
            self._told_undone(use, told, answer)
        elif answer is not None and use.known is Known.UNDOING and not use.undos:
            # one that is still undone by others may come back yet
            use.known = Known.RELEASED
            self.check()

    def undo_by_volume(self, use: Use, told: Attachment) -> None:
        """An operator undoes what a volume was released by, whatever its user asks meanwhile."""
        attachments = self.life.engine.attachments
        if use.known in {Known.RELEASED, Known.UNDOING}:
            use.known, use.is_quiet = Known.UNDOING, False
        use.undos += 1
        answer = self.act(lambda: attachments.undo_release(volume_id=told.volume_id))
        use.undos -= 1
        if _is_answer(answer) and answer.id == told.id:
            self._told_undone(use, told, answer)
        elif answer is not None and use.known is Known.UNDOING and not use.undos:
            use.known = Known.RELEASED
            self.check()

    def _told_undone(self, use: Use, told: Attachment, answer: Attachment) -> None:
        key = (told.volume_id, told.volume_generation, told.chap)
        back = (answer.volume_id, answer.volume_generation, answer.chap)
        assert (told.id, key) == (answer.id, back), "undone to something else"
        if use.known is Known.RELEASING:
            return  # given back once more, by somebody who had his answer before
        self._check_own(use, answer)
        use.known, use.told = Known.ATTACHED, answer
        self.check()

    def resume(self, use: Use, *, user: int) -> None:
        """Who released comes again under the same name, perhaps for another system user."""
        if use.known is not Known.RELEASED:
            return
        use.spec = replace(use.spec, system_user=USERS[user], resume_released=True)
        use.known, use.told, use.is_quiet = Known.ASKED, None, False
        self.ask(use)

    def hold(self, pool: str, *, count: int, seconds: float) -> str:
        """Somebody wants replicas held; asked again with the token when nobody answers."""
        token = self.new_name("hold")
        ticket = self.told.tickets[token] = Ticket(pool=pool, count=count)
        wanted = [Wanted(pool=pool, count=count)]
        answer = None
        while answer is None:
            holds = self.life.engine.holds
            answer = self.act(
                partial(holds.create, wanted=wanted, duration_s=seconds, owner="", token=token)
            )
        if isinstance(answer, ClonepoolError):
            del self.told.tickets[token]
        else:
            ticket.id, ticket.expires_at = answer.id, answer.expires_at
            self.check()
        return token

    def release_hold(self, token: str) -> None:
        """What is left of it is anybody's again."""
        ticket = self.told.tickets[token]
        ticket.is_asked_back = True
        holds = self.life.engine.holds
        if self.act(lambda: holds.release(ticket=ticket.id) or True) is True:
            ticket.is_over = True
            self.check()

    # what goes wrong on the engine's side

    def fail_next_clone(self, error: ClonepoolError) -> None:
        """Have the next clone fail by ``error`` half-way, and be made later."""
        self._disturb_next_clone(lambda: _throw(error))

    def stop_next_clone(self) -> None:
        """Have the engine end while it clones, in good order; the next one makes it."""
        self._disturb_next_clone(self.life.engine._worker._stopping.set)
        self.restart()

    def _disturb_next_clone(self, disturb: Callable[[], None]) -> None:
        used = self.new_use(min(self.told.pools), server=3, user=0)
        self.settle_and_ask(used)
        self.look()
        real = self.machine.storage.on_step

        def step(at: str, name: str) -> None:
            real(at, name)
            if at == "clone.begin":
                self.machine.storage.on_step = real
                disturb()

        self.machine.storage.on_step = step
        self.work()
        self.release(used, force=True)
        assert self.machine.storage.on_step is real, "nothing was cloned"

    def lose_volume_while_exports_are_remade(self, pool: str) -> None:
        """The fabric's daemon dies, and while exports follow a volume goes by a scrub run."""
        used = self.new_use(pool, server=2, user=1)
        self.settle_and_ask(used)
        self.lose_exports()
        real, left = self.machine.fabric.fault, [True]

        def step(at: str) -> None:
            real(at)
            if at == "export.end" and left:
                left.clear()
                self.release(used, force=True)

        self.machine.fabric.fault = step
        self.watch()
        self.machine.fabric.fault = real

    def settle_and_ask(self, use: Use) -> None:
        """Ask when there is a replica for it."""
        self.settle()
        self.ask(use)
        assert use.known is Known.ATTACHED, use


def _is_answer(answer: Any) -> bool:
    return answer is not None and not isinstance(answer, ClonepoolError)


def _throw(error: ClonepoolError) -> None:
    raise error
