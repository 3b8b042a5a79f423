"""Random lives of volumes: attached, released, undone, resumed, scrubbed, crashed on the way.

A model knows what each attachment wrote. Whoever gets a volume finds the image's bytes, or, where
it resumes, exactly its own; and the audit of all of it holds.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.audit_check import check_lines
from clonepool.domain.model import Attachment, Ref, ScrubPolicy, SystemUser
from clonepool.domain.states import (
    CAPACITY_STATES,
    AfterScrub,
    ScrubMethod,
    SystemUserKind,
    VerifyMode,
    VolumeState,
)
from clonepool.errors import (
    AlreadyExists,
    ClonepoolError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
)
from clonepool.testing.engines import EngineRig

STEPS = 60
MET = {"released", "undone", "resumed", "scrubbed", "restarted"}
NAMES = ("a", "b", "c", "d")
USERS = (
    SystemUser(name="acme", kind=SystemUserKind.CUSTOMER),
    SystemUser(name="acme", kind=SystemUserKind.APPLICATION),
    SystemUser(name="shop", kind=SystemUserKind.CUSTOMER),
)
GOLDEN = b"goldengolden"
HOUR = 3600.0


class Lives:
    """One engine, and what is known of it from outside."""

    def __init__(self, rig: EngineRig, random: Random) -> None:
        self.rig = rig
        self.random = random
        self.held: dict[str, Attachment] = {}
        self.wrote: dict[str, bytes] = {}  # by volume and generation
        self.met: set[str] = set()
        self.number = 0

    def attach(self) -> None:
        name = self.random.choice(NAMES)
        if name in self.held:
            return
        self.number += 1
        spec = self.rig.spec(
            name,
            pool=self.random.choice(("web", "two")),
            system_user=self.random.choice(USERS),
            resume_released=self.random.random() < 0.7,
        )
        made = self.rig.engine.attachments.create(spec=spec, token=f"t{self.number}")
        if not made.volume_id:
            self.rig.release(made)
            return
        self.take(made, may_resume=spec.resume_released)

    def take(self, made: Attachment, *, may_resume: bool) -> None:
        """Look at what is there, as its server would, and write over it."""
        key = f"{made.volume_id} g{made.volume_generation}"
        resumed = made.resumed_release is not None
        assert resumed <= may_resume
        before = self.wrote.get(key)
        assert resumed == (before is not None), key
        owner = f"{made.system_user} {made.spec.name} {made.spec.pool}".encode()
        found = self.read(made)
        if resumed:
            self.met.add("resumed")
            assert before == found
            assert found.startswith(owner), "its own, and nobody else's"
        else:
            assert found.startswith(GOLDEN)
        self.number += 1
        mark = owner + b" %d" % self.number
        name = self.rig.volume(made.volume_id).object_name
        assert isinstance(self.rig.storage, MemoryBackend)
        self.rig.storage.open(name=name).write_at(0, mark.ljust(64, b"."))
        self.wrote[key] = self.read(made)
        self.held[made.spec.name] = made

    def read(self, made: Attachment) -> bytes:
        name = self.rig.volume(made.volume_id).object_name
        return self.rig.storage.read(name=name, offset=0, length=64)

    def release(self) -> None:
        if self.held:
            name = self.random.choice(sorted(self.held))
            self.rig.release(self.held.pop(name))
            self.met.add("released")

    def undo(self) -> None:
        name = self.random.choice(NAMES)
        if name in self.held:
            return
        try:
            made = self.rig.engine.attachments.undo_release(attachment=name)
        except (NotFound, FailedPrecondition, AlreadyExists, ResourceExhausted):
            return
        self.met.add("undone")
        self.take(made, may_resume=True)

    def scrub(self) -> None:
        if self.rig.engine.scrub.start(pool=self.random.choice(("web", "two"))) is not None:
            self.met.add("scrubbed")

    def wait(self) -> None:
        self.rig.advance(self.random.choice((60.0, HOUR, 3 * HOUR)))

    def crash(self) -> None:
        self.rig.reopen()
        self.met.add("restarted")

    def check(self) -> None:
        """Who is attached still has what it wrote; nobody has anything twice."""
        volumes = set()
        for name, made in self.held.items():
            now = self.rig.engine.attachments.get(ref=Ref(name=name))
            assert (made.id, made.volume_id) == (now.id, now.volume_id)
            volumes.add(now.volume_id)
            key = f"{made.volume_id} g{made.volume_generation}"
            assert self.wrote[key] == self.read(made)
        assert len(self.held) == len(volumes)
        for pool in ("web", "two"):
            found = self.rig.pool(pool)
            # a run takes all that is released, more than the pool has room for
            counted = found.counts.of(*(CAPACITY_STATES - {VolumeState.SCRUBBING}))
            assert counted <= found.spec.max_replicas


@pytest.mark.parametrize("seed", range(8))
def test_whoever_gets_a_volume_finds_the_image_or_its_own(seed: int, tmp_path: Path) -> None:
    random = Random(seed)  # noqa: S311 - trials, no secret
    with EngineRig(tmp_path) as rig:
        rig.add_image(system_user=None)
        for name in ("web", "two"):
            policy = ScrubPolicy(
                threshold=random.randint(2, 4),
                method=random.choice(list(ScrubMethod)),
                verify=random.choice(list(VerifyMode)),
                then=random.choice([AfterScrub.RECYCLE, AfterScrub.RECYCLE, AfterScrub.DESTROY]),
                undo_window_s=random.choice([0, HOUR, 2 * HOUR]),
                max_age_s=random.choice([0, 5 * HOUR]),
            )
            rig.add_pool(name, min_ready=1, max_replicas=3, scrub=policy)
        lives = Lives(rig, random)
        steps = [lives.attach] * 6 + [lives.release] * 4 + [lives.undo] * 2
        steps += [lives.scrub, lives.wait, lives.wait, lives.crash]
        for number in range(10 * STEPS):
            # a life in which nothing happens would prove nothing
            if number >= STEPS and lives.met >= MET:
                break
            step = random.choice(steps)
            try:
                step()
            except ClonepoolError as error:
                raise AssertionError(f"{step.__name__}: {error}") from error
            lives.check()
        checked = check_lines(rig.engine.audit.export())
        assert (True, len(lives.held)) == (checked.complete, checked.holdings)
        assert lives.met >= MET
