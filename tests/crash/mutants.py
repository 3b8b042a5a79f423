"""The planted faults: each is one slip of the kind that gets past a review."""

from __future__ import annotations

from typing import Final

from tests.crash.mutants_kept import MUTANTS_OF_WHAT_IS_KEPT
from tests.crash.planting import Edit, Mutant, one

_ATTACHMENTS = "controllers/attachments.py"
_ALLOCATION = "store/allocation.py"
_CLONES = "controllers/clones.py"
_ERASING = "controllers/erasing.py"
_EXPORTS = "controllers/exports.py"
_FILLING = "controllers/filling.py"
_OPERATIONS = "store/operations.py"
_RELEASE = "store/release.py"
_SCRUBBING = "controllers/scrubbing.py"
_WORKER = "controllers/worker.py"

MUTANTS: Final = (
    *MUTANTS_OF_WHAT_IS_KEPT,
    # releasing
    one("released without unexport", _ATTACHMENTS, "        fabric.unexport(held.target)\n"),
    Mutant(
        name="released before it is unexported",
        edits=(
            Edit(
                file=_ATTACHMENTS,
                old="        reach(Point.RELEASE_BEGUN)\n        fabric.revoke(held.target)\n"
                "        reach(Point.REVOKED)\n        fabric.unexport(held.target)\n"
                "        reach(Point.UNEXPORTED)\n",
            ),
            Edit(
                file=_ATTACHMENTS,
                old="        self._context.state.write(change)\n\n    def tidy(self)",
                new="        self._context.state.write(change)\n"
                "        fabric.revoke(held.target)\n        fabric.unexport(held.target)\n\n"
                "    def tidy(self)",
            ),
        ),
    ),
    Mutant(
        name="release without its intent",
        edits=(
            Edit(
                file=_ATTACHMENTS,
                old="                self._begin_release(held)\n"
                "            self._finish_release(held)",
                new="            self._finish_release(held)",
            ),
            Edit(
                file=_RELEASE,
                old="WHERE attachment_id = :id AND state = 'detaching' AND NOT slot",
                new="WHERE attachment_id = :id AND NOT slot",
            ),
        ),
    ),
    one(
        "release told before it is durable",
        _ATTACHMENTS,
        "        self._context.state.write(change)\n\n    def tidy(self)",
        "        self._context.state.defer(change)\n\n    def tidy(self)",
    ),
    one(
        "release leaves the sessions alive",
        "fabrics/memory.py",
        "    for session in export.sessions:\n        session.alive = False\n",
    ),
    one(
        "detaching not finished after a crash",
        _ATTACHMENTS,
        "for held in detaching:",
        "for held in ():",
    ),
    one(
        "server not vacated",
        _RELEASE,
        "    allocation_servers.vacate(transaction, server_id=held.attachment.server_id)\n",
    ),
    # attaching
    one(
        "claim takes released volumes",
        _ALLOCATION,
        "WHERE pool_id = :pool AND state = 'ready' AND image_version_id = :version",
        "WHERE pool_id = :pool AND state IN ('ready', 'released') AND image_version_id = :version",
    ),
    one(
        "claim takes what another has",
        _ALLOCATION,
        "WHERE pool_id = :pool AND state = 'ready' AND image_version_id = :version",
        "WHERE pool_id = :pool AND state IN ('ready', 'allocated') AND image_version_id = :version",
    ),
    one(
        "waiters are overtaken",
        "store/allocation_holds.py",
        "AND ahead.n < :place",
        "AND ahead.n > :place",
    ),
    one(
        "attached again for any token",
        _ALLOCATION,
        "    if token != request.token or digest != request.digest:",
        "    if digest != request.digest:",
    ),
    one(
        "note of a grant lost",
        _ATTACHMENTS,
        "        release.mark_allocated(transaction, attachment_ids=granted,",
        "        release.mark_allocated(transaction, attachment_ids=[],",
    ),
    one(
        "told before it is granted",
        _ATTACHMENTS,
        "        connection = self._grant(held)\n        if held",
        "        connection = self._connection(held)\n        if held",
    ),
    one(
        "attaching not granted after a crash",
        _ATTACHMENTS,
        "for held in attaching:",
        "for held in ():",
    ),
    one(
        "waiters who went away stay",
        _ATTACHMENTS,
        "            expired = attachments.has_expired_waiters(session, now=self._context.now())",
        "            expired = False",
    ),
    one(
        "grant and revoke interleave",
        "controllers/context.py",
        "        return self._locks[hash(attachment_id) % self._COUNT]",
        "        return threading.RLock()",
    ),
    # cloning, filling, deleting
    one(
        "ready without an export",
        _CLONES,
        "        fabric.export(self._exports.of_volume(volume, work.read_only))\n",
    ),
    one(
        "ready without its clone",
        _CLONES,
        "        kind, used_bytes = self._clone(work, control)\n",
        '        kind, used_bytes = "thin", 0\n',
    ),
    one(
        "row forgotten before its object is deleted",
        _CLONES,
        "        self._context.drivers.fabric(volume.fabric).unexport(volume.target)\n",
        "        self._context.state.write(\n"
        "            lambda transaction: volumes.forget(transaction, volume_id=volume.id))\n"
        "        self._context.drivers.fabric(volume.fabric).unexport(volume.target)\n",
    ),
    one(
        "object of a deleted volume left",
        _CLONES,
        "            self._context.drivers.backend(volume.storage)"
        ".delete(name=volume.object_name)\n",
        "            pass\n",
    ),
    one(
        "export of a deleted volume left",
        _CLONES,
        "        self._context.drivers.fabric(volume.fabric).unexport(volume.target)\n",
    ),
    one(
        "planned by counts of before",
        _FILLING,
        "count=min(plan.make, fresh.make, _AT_ONCE)",
        "count=min(plan.make, _AT_ONCE)",
    ),
    one(
        "recycled beyond max_replicas",
        "domain/policy.py",
        "    return max(0, min(released, stock.short(spec), room))",
        "    return max(0, min(released, stock.short(spec) + 1))",
    ),
    one("tombstone of a pool ignored", _FILLING, "            self._clear_out(pool)\n"),
    one(
        "version deleted while volumes refer to it",
        "store/images.py",
        "        AND NOT EXISTS (SELECT 1 FROM volume WHERE image_version_id = v.id)\n",
    ),
    one(
        "new version not rolled out",
        "domain/policy.py",
        "        retire_stale=retire_stale,\n",
        "        retire_stale=0,\n",
    ),
    # scrubbing
    one(
        "scrub recorded and nothing erased",
        _SCRUBBING,
        "        seen = self._erasing.erase(volume, run, control, reuse=reuse, "
        "mode=pool.spec.clone_mode)\n",
        "        seen = ReadBack()\n",
    ),
    one(
        "scrubbed volume keeps its object",
        _ERASING,
        "        backend.delete(name=volume.object_name)\n        return seen\n",
        "        return seen\n",
    ),
    one(
        "generation not raised by a scrub",
        _SCRUBBING,
        "generation=volume.generation + 1",
        "generation=volume.generation",
    ),
    one(
        "another generation erased",
        _ERASING,
        "            backend.delete(name=volume.object_name)\n"
        "            reach(Point.SCRUB_EMPTIED)\n",
        '            backend.delete(name=f"{volume.object_name}0")\n',
    ),
    one(
        "scrub takes what is being released",
        "store/scrubs.py",
        "WHERE pool_id = :pool AND ({_ELIGIBLE}\n",
        "WHERE pool_id = :pool AND ({_ELIGIBLE} OR state = 'detaching'\n",
    ),
    one(
        "no scrub record",
        "store/scrub_records.py",
        "FROM volume WHERE id = ? AND generation = ? AND state = 'scrubbing' AND NOT EXISTS",
        "FROM volume WHERE id = ? AND generation = ? AND state = 'released' AND NOT EXISTS",
    ),
    # the worker
    one(
        "end accepted from a stale worker",
        _OPERATIONS,
        "    WHERE id = ? AND fence = ? AND state = 'running'\n",
        "    WHERE id = ? AND ? > 0 AND state = 'running'\n",
    ),
    one(
        "lease not looked at",
        _OPERATIONS,
        "        WHERE state = 'running' AND node = ? AND lease_until < ?",
        "        WHERE state = 'running' AND node = ? AND lease_until > 0 + 0 * ?",
    ),
    one(
        "what runs is claimed again",
        _OPERATIONS,
        "SELECT n, run_after FROM operation WHERE state = 'queued'\n"
        "        AND kind = 'scrub_volume'",
        "SELECT n, run_after FROM operation WHERE state IN ('queued', 'running')\n"
        "        AND kind = 'scrub_volume'",
    ),
    one(
        "work of a dead engine not taken over",
        _OPERATIONS,
        "WHERE state = 'running' AND node = ? AND owner != ? AND",
        "WHERE state = 'never' AND node = ? AND owner != ? AND",
    ),
    one(
        "failed work not tried again",
        _WORKER,
        "            if again_at is not None:\n",
        "            if again_at == 0.0:\n",
    ),
    one(
        "work cut off by a shutdown is given up",
        _WORKER,
        "            if self._stopping.is_set() or not self._context.nodes.takes_work:\n"
        "                operations.put_back(transaction, operation=operation, run_after=0.0",
        "            if not self._stopping.is_set():\n"
        "                operations.put_back(transaction, operation=operation, run_after=0.0",
    ),
    one(
        "volume moved whatever its state is",
        "store/volumes.py",
        '"WHERE id = :id AND state = :old AND generation = :generation",',
        "\"WHERE id = :id AND :old != '' AND :generation > 0\",",
        alone=False,
    ),
    # exports
    one(
        "stray exports left by a start",
        "fabrics/base.py",
        "        for stray in existing - wanted.keys():\n",
        "        for stray in ():\n",
    ),
    one(
        "lost exports not made again",
        _EXPORTS,
        "        self._remake(name, fabric)\n",
    ),
    one(
        "lost export granted to who gave it back",
        _EXPORTS,
        "            if fresh is None or fresh.attachment.state is not AttachmentState.ATTACHED:\n"
        "                return\n",
        "            fresh = held\n",
    ),
    one(
        "exports left over by what went meanwhile",
        _EXPORTS,
        "                    reach(Point.EXPORT_LEFT_OVER)\n"
        "                    fabric.unexport(target)\n",
        "                    pass\n",
    ),
    # the last look before an erasure: of no use as long as every release unexports
    one(
        "scrub does not look for an export",
        _SCRUBBING,
        "        self._check_unexported(volume)\n",
        alone=False,
    ),
    # the drivers of real storage and fabric
    Mutant(
        name="shared copy exported for writing",
        edits=(
            Edit(
                file="fabrics/iscsi_target.py",
                old='        parameters = {"readonly": "1"} if lun.read_only else {}\n',
                new="        parameters: dict[str, str] = {}\n",
            ),
        ),
        suite=("tests/fabrics/test_conformance.py",),
    ),
    Mutant(
        name="server admitted before its account is bound",
        edits=(
            Edit(
                file="fabrics/iscsi_target.py",
                old="        if access.chap is not None:\n            self._new_account(",
                new="        self._tgt.bind_initiator(tid=state.tid, name=access.initiator)\n"
                "        if access.chap is not None:\n            self._new_account(",
            ),
            Edit(
                file="fabrics/iscsi_target.py",
                old="        self._tgt.bind_initiator(tid=state.tid, name=access.initiator)\n"
                "        state.initiators",
                new="        state.initiators",
            ),
        ),
        suite=("tests/fabrics/test_iscsi_crash.py",),
    ),
    Mutant(
        name="name of a new file not durable",
        edits=(
            Edit(
                file="backends/directory.py",
                old="        os.rename(path, self.path(place, name))\n"
                "        sync_directory(self.folder(place))\n",
                new="        os.rename(path, self.path(place, name))\n",
            ),
        ),
        suite=("tests/backends/test_power_loss.py",),
    ),
)
BY_NAME: Final = {mutant.name: mutant for mutant in MUTANTS}
# one that hides the other, or that only together do harm
PAIRS: Final = (
    ("released without unexport", "scrub does not look for an export"),
    ("released without unexport", "stray exports left by a start"),
    ("release leaves the sessions alive", "scrub does not look for an export"),
    ("end accepted from a stale worker", "volume moved whatever its state is"),
    ("lease not looked at", "end accepted from a stale worker"),
    ("what runs is claimed again", "end accepted from a stale worker"),
    ("what runs is claimed again", "volume moved whatever its state is"),
    ("generation not raised by a scrub", "scrubbed volume keeps its object"),
    ("generation not raised by a scrub", "scrub recorded and nothing erased"),
    ("note of a grant lost", "attaching not granted after a crash"),
    ("told before it is granted", "attaching not granted after a crash"),
    ("detaching not finished after a crash", "stray exports left by a start"),
    ("claim takes released volumes", "scrub recorded and nothing erased"),
    ("claim takes released volumes", "released without unexport"),
    ("claim takes what another has", "attached again for any token"),
    ("planned by counts of before", "recycled beyond max_replicas"),
    ("tombstone of a pool ignored", "object of a deleted volume left"),
    ("row forgotten before its object is deleted", "stray exports left by a start"),
    ("grant and revoke interleave", "stray exports left by a start"),
    ("grant and revoke interleave", "attaching not granted after a crash"),
    ("exports left over by what went meanwhile", "stray exports left by a start"),
    ("lost export granted to who gave it back", "exports left over by what went meanwhile"),
    ("no scrub record", "scrubbed volume keeps its object"),
    ("version deleted while volumes refer to it", "new version not rolled out"),
    ("waiters are overtaken", "waiters who went away stay"),
    ("work of a dead engine not taken over", "failed work not tried again"),
    ("server not vacated", "detaching not finished after a crash"),
    ("release told before it is durable", "note of a grant lost"),
    ("resumed by another system user", "given back to another system user"),
    (
        "what an earlier attempt made is taken for the next generation",
        "what is read back is not looked at",
    ),
)
