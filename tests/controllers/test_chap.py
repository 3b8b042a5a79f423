"""CHAP accounts: given or generated, changed in place, never plain on the disk."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import SQLModel

from clonepool.domain.model import (
    ChapSpec,
    PageRequest,
    Ref,
)
from clonepool.domain.states import (
    ChapMode,
    VolumeState,
)
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    PermissionDenied,
    Unavailable,
)
from clonepool.testing.engines import EngineRig
from tests.controllers.steps import fail_once, get, gone, login, update
from tests.store import seed

V = VolumeState
SECRET = "opensesame4242"
GIVEN = ChapSpec(mode=ChapMode.GIVEN, username="acme", secret=SECRET)


def test_a_given_account_is_what_the_server_logs_in_with(pool: EngineRig) -> None:
    attached = pool.attach("a", chap=GIVEN)
    assert attached.chap is not None
    assert ("acme", SECRET) == (attached.chap.username, attached.chap.secret)
    assert login(pool, attached).is_alive()


def test_a_generated_account_is_of_this_export_alone(pool: EngineRig) -> None:
    accounts = [pool.attach(name).chap for name in ("a", "b")]
    assert all(account is not None and 12 <= len(account.secret) <= 16 for account in accounts)
    assert 2 == len({account.username for account in accounts if account})
    assert 2 == len({account.secret for account in accounts if account})


def test_no_account_only_where_none_was_asked_for(pool: EngineRig) -> None:
    attached = pool.attach("a", chap=ChapSpec(mode=ChapMode.NONE))
    assert attached.chap is None
    assert login(pool, attached).is_alive()


def test_secrets_are_never_plain_on_the_disk(pool: EngineRig) -> None:
    """Neither in the database nor in its log."""
    given = pool.attach("a", chap=GIVEN)
    generated = pool.attach("b")
    update(pool, given, chap=replace(GIVEN, secret="opensesame4343"))
    assert generated.chap is not None
    kept = b"".join(
        path.read_bytes() for path in pool.settings.state_dir.iterdir() if path.is_file()
    )
    if pool.settings.database:
        # its server keeps them: all that it holds, as it would dump it
        kept += "".join(
            str(seed.rows_of(pool.engine._state.database, f"SELECT * FROM {table}"))  # noqa: S608
            for table in SQLModel.metadata.tables
        ).encode()
    for secret in (SECRET, "opensesame4343", generated.chap.secret):
        assert secret.encode() not in kept
    assert b"acme" in kept, "the search works"


def test_listings_and_logs_show_no_secret(pool: EngineRig) -> None:
    attached = pool.attach("a", chap=GIVEN)
    listed, _token = pool.engine.attachments.list(page=PageRequest())
    assert [""] == [each.chap.secret for each in listed if each.chap]
    for shown in (repr(attached), repr(listed), repr(pool.events())):
        assert SECRET not in shown


def test_changed_chap_is_granted_on_the_same_volume(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    changed = update(pool, attached, chap=GIVEN)
    assert attached.volume_id == changed.volume_id
    assert login(pool, changed).is_alive()
    with pytest.raises(PermissionDenied):
        login(pool, attached)
    assert GIVEN.username == get(pool, "a").spec.chap.username


def test_an_unchanged_update_keeps_secret_and_session(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    session = login(pool, attached)
    updated = update(pool, attached, force_detach=True)
    assert attached.chap == updated.chap
    assert session.is_alive()
    assert get(pool, "a").spec.force_detach


def test_chap_of_a_busy_server_changes_only_by_force(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    session = login(pool, attached)
    with pytest.raises(FailedPrecondition):
        update(pool, attached, chap=GIVEN)
    assert session.is_alive()
    update(pool, attached, chap=GIVEN, force_detach=True)
    assert not session.is_alive()


def test_a_change_of_chap_that_was_cut_off_is_finished_by_asking_again(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    fail_once(pool, "grant.begin", Unavailable("the daemon is away"))
    with pytest.raises(Unavailable):
        update(pool, attached, chap=GIVEN)
    spec = replace(attached.spec, chap=GIVEN)
    changed = pool.engine.attachments.update(attachment_id=attached.id, spec=spec)
    assert login(pool, changed).is_alive()


def test_after_an_update_the_same_declaration_is_the_same_attachment(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    update(pool, attached, chap=GIVEN)
    assert attached.id == pool.attach("a", chap=GIVEN).id
    with pytest.raises(AlreadyExists):
        pool.attach("a")


def test_an_account_name_of_another_export_is_refused_and_nothing_is_left(
    pool: EngineRig,
) -> None:
    pool.attach("a", chap=GIVEN)
    with pytest.raises(AlreadyExists, match="acme"):
        pool.attach("b", chap=GIVEN)
    assert gone(pool, "b")


def given(username: str) -> ChapSpec:
    return ChapSpec(mode=ChapMode.GIVEN, username=username, secret="twelve-chars")


def test_a_given_user_name_that_is_taken_is_refused_before_a_replica_is(pool: EngineRig) -> None:
    """tgtd's accounts are global to it, and a refused request must use nothing up."""
    first = pool.attach_and_wait("a", chap=given("acme"))
    pool.wait_ready(2)
    with pytest.raises(AlreadyExists, match="belongs to attachment a on fabric iscsi"):
        pool.attach("b", chap=given("acme"))
    assert (2, 0) == (pool.count(VolumeState.READY), pool.count(VolumeState.RELEASED))
    second = pool.attach("b", chap=given("other"))
    spec = replace(second.spec, chap=given("acme"))
    with pytest.raises(AlreadyExists, match="CHAP user name 'acme'"):
        pool.engine.attachments.update(attachment_id=second.id, spec=spec)
    after = pool.engine.attachments.get(ref=Ref(id=second.id))
    assert "other" == after.spec.chap.username
    assert first.id == pool.attach("a", chap=given("acme")).id
    pool.release(first)
    updated = pool.engine.attachments.update(attachment_id=second.id, spec=spec)
    assert updated.chap is not None
    assert "acme" == updated.chap.username


def test_a_given_user_name_is_kept_for_who_waits_with_it(pool: EngineRig) -> None:
    pool.update_pool(min_ready=0, max_replicas=1)
    pool.wait_for(lambda: not pool.volumes(state="ready"), what=pool.volumes)
    pool.attach_and_wait("x")
    assert not pool.attach("a", chap=given("acme")).volume_id
    with pytest.raises(AlreadyExists, match="belongs to attachment a"):
        pool.attach("b", chap=given("acme"))
