"""Planted faults in what is kept: read back, given back, held, and found when it is lost."""

from __future__ import annotations

from typing import Final

from tests.crash.planting import Edit, Mutant, one

_RETURNS: Final = ("tests/crash/test_concurrent_returns.py",)

MUTANTS_OF_WHAT_IS_KEPT: Final = (
    # coming back while others are at work: nothing that runs alone can see these
    Mutant(
        name="undone and given back at once",
        edits=(
            Edit(
                file="controllers/attachments.py",
                old="        self._context.signals.changed()\n"
                "        with self._lock(attachment_id):\n",
                new="        self._context.signals.changed()\n        if attachment_id:\n",
            ),
        ),
        suite=_RETURNS,
    ),
    Mutant(
        name="export of what came back removed",
        edits=(
            Edit(
                file="controllers/exports.py",
                old="                if target not in self._targets(name):\n",
                new="                if target:\n",
            ),
        ),
        suite=_RETURNS,
    ),
    Mutant(
        name="what comes back is granted while its target is removed",
        edits=(
            Edit(
                file="controllers/grants.py",
                old="        with self._context.targets.of(held.target):\n"
                "            return self._grant_now(held)",
                new="        return self._grant_now(held)",
            ),
        ),
        suite=_RETURNS,
    ),
    # read back
    one(
        "what is read back is not looked at",
        "controllers/read_back.py",
        "        if data != like:\n",
        "        if len(data) != len(like):\n",
    ),
    one(
        "what an earlier attempt made is taken for the next generation",
        "controllers/erasing.py",
        "            backend.delete(name=_next_name(volume))\n",
        "            pass\n",
        alone=False,
    ),
    # coming back
    Mutant(
        name="room made of what is held",
        edits=(
            Edit(
                file="store/resuming.py",
                old="ORDER BY changed_at, n LIMIT 1 OFFSET {AHEAD}))",
                new="ORDER BY changed_at, n LIMIT 1))",
            ),
        ),
        suite=_RETURNS,
    ),
    one(
        "resumed by another system user",
        "store/released.py",
        "    WHERE r.name = :name AND r.pool_id = :pool AND r.user_name = :user_name\n"
        "        AND r.user_kind = :user_kind AND NOT r.superseded AND v.state = 'released'\n"
        "        AND v.generation = r.generation AND v.pool_id = :pool\n"
        "        AND v.last_attachment_id = r.attachment_id AND v.last_user_name = :user_name\n"
        "        AND v.last_user_kind = :user_kind\n",
        "    WHERE r.name = :name AND r.pool_id = :pool AND NOT r.superseded\n"
        "        AND v.state = 'released' AND v.generation = r.generation\n",
        alone=False,
    ),
    one(
        "given back to another system user",
        "store/released.py",
        "    WHERE id = :volume AND generation = :generation AND state = 'released'\n"
        "        AND last_user_name = :user_name AND last_user_kind = :user_kind\n",
        "    WHERE id = :volume AND generation = :generation AND state = 'released'\n",
        alone=False,
    ),
    Mutant(
        name="comes back while it is scrubbed",
        edits=(
            Edit(
                file="store/released.py",
                old='        "DELETE FROM released_attachment "\n'
                '        "WHERE volume_id IN (SELECT id FROM volume WHERE scrub_run_id = ?)",',
                new='        "DELETE FROM released_attachment "\n'
                '        "WHERE volume_id IN (SELECT id FROM volume WHERE ? IS NULL)",',
            ),
            Edit(
                file="store/released.py",
                old="AND NOT r.superseded AND v.state = 'released'",
                new="AND NOT r.superseded AND v.state IN ('released', 'scrubbing')",
            ),
            Edit(
                file="store/released.py",
                old="    WHERE id = :volume AND generation = :generation AND state = 'released'\n",
                new="    WHERE id = :volume AND generation = :generation\n",
            ),
            Edit(
                file="store/resuming.py",
                old='    if state != "released":\n',
                new='    if state not in ("released", "scrubbing"):\n',
            ),
        ),
    ),
    one(
        "scrubbed though it can be undone",
        "store/scrubs.py",
        "_ELIGIBLE = \"state = 'released' AND (released_at <= :undo_before OR "
        'released_at > :ahead)"',
        "_ELIGIBLE = \"state = 'released' AND (:undo_before IS NOT NULL OR released_at > :ahead)\"",
    ),
    one(
        "release not in the audit",
        "store/release.py",
        "    audit_chain.append(transaction, kind=audit.HELD, at=now, body=body)\n",
    ),
    # holds
    one(
        "hold ignored by who has no ticket",
        "store/allocation_holds.py",
        "WHERE pool_id = :pool AND remaining > 0 AND expires_at > :now AND n < :hold)",
        "WHERE pool_id = :pool AND remaining < 0 AND expires_at > :now AND n < :hold)",
    ),
    one(
        "ticket never used up",
        "store/allocation_holds.py",
        "SET remaining = remaining - 1 WHERE",
        "SET remaining = remaining - 0 WHERE",
    ),
    # drift
    one(
        "what a scrub made is taken for an orphan",
        "domain/drift.py",
        "            if row.state is VolumeState.SCRUBBING\n",
        "            if row.state is VolumeState.PLANNED\n",
    ),
    one(
        "orphan deleted at once",
        "controllers/orphans.py",
        "            if self.due_in_s(orphan) == 0.0:\n",
        "            if self.due_in_s(orphan) is not None:\n",
    ),
    one(
        "orphan never deleted",
        "controllers/orphans.py",
        "            if self.due_in_s(orphan) == 0.0:\n",
        "            if self.due_in_s(orphan) == -1.0:\n",
    ),
    one(
        "replica without its object stays ready",
        "controllers/lost_objects.py",
        "if self._context.state.write(lambda each: self._take_out(each, row, reason, text)):\n",
        "if not row:\n",
    ),
    Mutant(
        name="refused and never taken back",
        edits=(
            Edit(
                file="controllers/attachments.py",
                old="            self._tidy_one(held, self._grant_what_was_left)\n",
                new="            self._tidy_one(held, self._create_again)\n",
            ),
        ),
        suite=("tests/crash/test_taken_back.py",),
    ),
    Mutant(
        name="taken back from who uses it",
        edits=(
            Edit(
                file="controllers/attachments.py",
                old="                if self._context.drivers.fabric(held.fabric)"
                ".sessions(held.target):\n",
                new="                if not held.target:\n",
            ),
        ),
        suite=("tests/crash/test_taken_back.py",),
    ),
    one(
        "lost target not made again",
        "controllers/reconcile.py",
        "        made = self._exports.remake(name, fabric, lost=lost)\n",
        "        made = lost\n",
    ),
)
