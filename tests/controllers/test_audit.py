"""What an engine did is in its audit, whole; what was done to its database behind it is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from clonepool.domain.audit_check import Checked, check_lines
from clonepool.domain.model import ImageSpec, PageRequest, Ref, ScrubPolicy, SystemUser
from clonepool.domain.states import ScrubMethod, SystemUserKind, VerifyMode
from clonepool.errors import DataLoss
from clonepool.store.writer import Transaction
from clonepool.testing.engines import USER, EngineRig

OTHER = SystemUser(name="shop", kind=SystemUserKind.APPLICATION)


@pytest.fixture
def used(rig: EngineRig) -> EngineRig:
    """A volume that acme had, resumed and gave back, erased, and that shop has now."""
    rig.add_image(system_user=None)
    policy = ScrubPolicy(threshold=99, method=ScrubMethod.ZERO, verify=VerifyMode.FULL)
    rig.add_pool(min_ready=1, max_replicas=1, scrub=policy)
    rig.release(rig.attach_and_wait("a", system_user=USER))
    rig.wait_ready(1)
    rig.release(rig.attach_and_wait("a", system_user=USER, resume_released=True))
    rig.engine.scrub.start(pool="web")
    rig.wait_runs_over()
    rig.advance(60)
    rig.release(rig.attach_and_wait("b", system_user=OTHER))
    rig.engine.attachments.undo_release(attachment="b")
    return rig


def exported(rig: EngineRig, *, since: float = 0) -> list[str]:
    return list(rig.engine.audit.export(since=since))


def entries(lines: list[str]) -> list[dict[str, Any]]:
    return [each for each in map(json.loads, lines) if each["kind"] in ("held", "scrubbed")]


def changed(rig: EngineRig, *statements: str) -> Iterator[str]:
    """The export of an engine whose database was changed by hand, its guards taken off."""
    on = " ON audit_entry" if rig.settings.database else ""

    def change(transaction: Transaction) -> None:
        for trigger in ("audit_entry_fixed", "audit_entry_kept"):
            transaction.sql(f"DROP TRIGGER {trigger}{on}")
        for statement in statements:
            assert transaction.sql(statement).rowcount

    rig.close()
    rig.open(start=False)
    rig.engine._state.write(change)
    rig.close()
    rig.open(start=False)
    return rig.engine.audit.export()


def test_the_history_of_a_volume_is_in_the_audit(used: EngineRig) -> None:
    found = entries(exported(used))
    by_volume: dict[str, list[str]] = {}
    for each in found:
        what = f"{each['kind']} g{each['generation']} by {each['system_user']['name']}"
        by_volume.setdefault(each["volume"], []).append(what)
    acme = ["held g1 by acme", "held g1 by acme", "scrubbed g1 by acme"]
    shop = ["held g1 by shop"]
    # which of the two replicas shop got is the pool's business
    assert by_volume[found[0]["volume"]][:3] == acme
    assert "held g2 by shop" in by_volume[found[0]["volume"]] or shop in by_volume.values()
    scrubbed = next(each for each in found if each["kind"] == "scrubbed")
    assert ("zero", "passed", "zeros") == (
        scrubbed["method"],
        scrubbed["read_back"]["result"],
        scrubbed["read_back"]["expected"],
    )
    assert scrubbed["allocated_at"] < scrubbed["released_at"] < scrubbed["finished_at"]


def test_the_audit_holds_and_names_who_has_what_now(used: EngineRig) -> None:
    lines = exported(used)
    checked = check_lines(lines)
    assert isinstance(checked, Checked)
    assert (used.engine._state.engine_id, True, 1) == (
        checked.engine_id,
        checked.complete,
        checked.holdings,
    )
    holding = next(each for each in map(json.loads, lines) if each["kind"] == "holding")
    assert ("shop", "b") == (holding["system_user"]["name"], holding["attachment_name"])


def test_a_scrub_record_has_its_place_in_the_chain(used: EngineRig) -> None:
    (record, *_more), _token = used.engine.scrub.list_records(page=PageRequest())
    assert record.hash in {each["hash"] for each in entries(exported(used))}


def test_an_engine_that_did_nothing_has_an_audit_that_holds(rig: EngineRig) -> None:
    assert 0 == check_lines(exported(rig)).entries


def test_a_part_since_a_time_holds_and_goes_on_where_an_earlier_one_ended(
    used: EngineRig,
) -> None:
    before = check_lines(exported(used))
    now = used.clock()
    used.release(used.engine.attachments.get(ref=Ref(name="b")))
    part = exported(used, since=now)
    checked = check_lines(part, expected_head=before.head)
    assert (1, False) == (checked.entries, checked.complete)
    assert 0 == check_lines(exported(used, since=used.clock())).entries


def test_after_a_restart_the_chain_goes_on(used: EngineRig) -> None:
    head = check_lines(exported(used)).head
    used.reopen()
    used.release(used.engine.attachments.get(ref=Ref(name="b")))
    assert head != check_lines(exported(used), expected_head=head).head


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM audit_entry WHERE n = 2", "taken out"),
        ("UPDATE audit_entry SET body = replace(body, 'acme', 'shop') WHERE n = 1", "was changed"),
        ("UPDATE audit_entry SET hash = 'x' WHERE n = 2", "was changed"),
    ],
)
def test_a_chain_that_was_changed_by_hand_is_refused(
    used: EngineRig, statement: str, said: str
) -> None:
    with pytest.raises(DataLoss, match=said):
        check_lines(changed(used, statement))


def test_a_volume_that_was_handed_on_unscrubbed_is_found(used: EngineRig) -> None:
    """In the rows, past all guards: the chain is whole, and does not hold."""
    attachment = "UPDATE attachment SET user_name = 'acme', user_kind = 'customer'"
    with pytest.raises(DataLoss, match="without a scrub record between"):
        check_lines(changed(used, attachment))


def test_a_slot_has_no_bytes_and_no_entry(rig: EngineRig) -> None:
    read_only = rig.portion("ro")
    rig.engine.images.create(
        spec=ImageSpec(name="web", system_user=USER, read_only=read_only), token="t"
    )
    rig.wait_imported("web", number=1)
    rig.add_pool(min_ready=1)
    rig.release(rig.attach_and_wait("a"))
    rig.wait_ready(1)
    rig.attach_and_wait("b")
    checked = check_lines(exported(rig))
    assert (0, 0) == (checked.entries, checked.holdings)
