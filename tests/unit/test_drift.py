"""What is drift and what is only work in flight, decided on rows and listings alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clonepool.domain.drift import (
    PortionRow,
    StorageRows,
    VolumeRow,
    compare_fabric,
    compare_storage,
    doubt,
    is_ours,
    list_names,
    waited_s,
    why_held,
)
from clonepool.domain.states import VolumeState

V = VolumeState
UUID = "0b5f2a3c-1111-4222-8333-444455556666"
NAME = f"vol-{UUID}-g1"
PORTION = f"img-{UUID}-rw"


def volume(**changes: Any) -> VolumeRow:
    fields: dict[str, Any] = {
        "id": UUID,
        "generation": 1,
        "state": V.READY,
        "storage": "default",
        "fabric": "iscsi",
        "version_id": "v",
        "name": NAME,
        "slot": False,
        "size_bytes": 512,
        "changed_at": 10.0,
        "error": "",
    }
    return VolumeRow(**{**fields, **changes})


def portion(**changes: Any) -> PortionRow:
    fields: dict[str, Any] = {
        "version_id": UUID,
        "image_id": "i",
        "image": "web",
        "number": 1,
        "name": PORTION,
        "size_bytes": 512,
        "digest": "sha256:0",
        "is_resting": True,
        "error": "",
    }
    return PortionRow(**{**fields, **changes})


def rows(*found: VolumeRow | PortionRow) -> StorageRows:
    return StorageRows(
        volumes=frozenset(row for row in found if isinstance(row, VolumeRow)),
        portions=frozenset(row for row in found if isinstance(row, PortionRow)),
    )


@pytest.mark.parametrize("name", [NAME, f"vol-{UUID}-g12", f"img-{UUID}-ro", f"img-{UUID}-rw"])
def test_what_carries_the_engines_names_is_its_own(name: str) -> None:
    assert is_ours(name)


@pytest.mark.parametrize(
    "name",
    [
        "backup.img",
        "vol-backup-g1",
        f"vol-{UUID}",
        f"vol-{UUID}-g0",
        f"{NAME}.bak",
        f"{NAME}\n",
        f"old-{NAME}",
        f"img-{UUID}-rx",
        NAME.upper(),
    ],
)
def test_what_does_not_is_never_touched(name: str) -> None:
    assert not is_ours(name)
    found = compare_storage({name: 1}, before=rows(), after=rows())
    assert frozenset() == found.strays


@pytest.mark.parametrize("state", [V.READY, V.ALLOCATED, V.RELEASED])
def test_a_row_at_rest_without_its_object_is_in_doubt(state: VolumeState) -> None:
    row = volume(state=state)
    assert {row: None} == compare_storage({}, before=rows(row), after=rows(row)).volumes


@pytest.mark.parametrize("state", set(VolumeState) - {V.READY, V.ALLOCATED, V.RELEASED})
def test_a_row_that_is_worked_on_is_not(state: VolumeState) -> None:
    row = volume(state=state)
    found = compare_storage({}, before=rows(row), after=rows(row))
    assert ({}, {}) == (found.volumes, found.portions)


@pytest.mark.parametrize(
    "change", [{"changed_at": 11.0}, {"state": V.ATTACHING}, {"generation": 2}]
)
def test_a_row_that_changed_during_the_listing_is_not_either(change: dict[str, Any]) -> None:
    before, after = volume(), replace(volume(), **change)
    found = compare_storage({}, before=rows(before), after=rows(after))
    assert {} == found.volumes


def test_a_row_that_is_as_it_should_be_is_no_drift() -> None:
    both = rows(volume(), portion())
    found = compare_storage({NAME: 512, PORTION: 512}, before=both, after=both)
    assert ({}, {}, frozenset()) == (found.volumes, found.portions, found.strays)
    assert frozenset() == found.mended_volumes | found.mended_portions


def test_a_size_that_is_not_the_rows_is_drift() -> None:
    both = rows(volume(), portion())
    found = compare_storage({NAME: 511, PORTION: 1024}, before=both, after=both)
    assert ({volume(): 511}, {portion(): 1024}) == (found.volumes, found.portions)


def test_a_slot_has_no_object_to_miss() -> None:
    both = rows(volume(slot=True))
    assert {} == compare_storage({}, before=both, after=both).volumes


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_object_whose_row_was_there_at_any_time_is_no_stray(where: str) -> None:
    """Rows come before objects and go after them."""
    sides = {"before": rows(), "after": rows()} | {where: rows(volume(state=V.CLONING))}
    assert frozenset() == compare_storage({NAME: 1}, **sides).strays


def test_what_takes_a_scrubbed_one_s_place_is_no_stray_before_its_row_says_so() -> None:
    both = rows(volume(state=V.SCRUBBING))
    sizes = {f"vol-{UUID}-g2": 512, f"vol-{UUID}-g3": 512}
    found = compare_storage(sizes, before=both, after=both)
    assert {f"vol-{UUID}-g3"} == found.strays


def test_an_object_of_an_older_generation_is_a_stray() -> None:
    both = rows(volume(generation=2, name=f"vol-{UUID}-g2"))
    sizes = {NAME: 512, f"vol-{UUID}-g2": 512}
    assert {NAME} == compare_storage(sizes, before=both, after=both).strays


def test_what_was_in_doubt_and_is_right_again_is_mended() -> None:
    text = doubt(volume(), storage="default", found_bytes=None)
    both = rows(volume(error=text), portion(error=doubt(portion(), storage="s", found_bytes=1)))
    found = compare_storage({NAME: 512, PORTION: 512}, before=both, after=both)
    assert both.volumes == found.mended_volumes
    assert both.portions == found.mended_portions


def test_an_error_of_something_else_is_left_alone() -> None:
    both = rows(volume(error="the server was too slow"))
    found = compare_storage({NAME: 512}, before=both, after=both)
    assert frozenset() == found.mended_volumes


def test_a_version_is_mended_only_with_all_its_portions() -> None:
    other = portion(name=f"img-{UUID}-ro")
    text = "; ".join(doubt(row, storage="s", found_bytes=None) for row in (other, portion()))
    both = rows(portion(error=text), replace(other, error=text))
    found = compare_storage({PORTION: 512}, before=both, after=both)
    assert frozenset() == found.mended_portions
    assert {replace(other, error=text): None} == found.portions


@pytest.mark.parametrize(
    ("state", "lost"), [(V.READY, True), (V.ALLOCATED, True), (V.CLONING, False), (V.FAULTY, False)]
)
def test_a_target_is_missed_only_where_it_must_be(state: VolumeState, lost: bool) -> None:
    row = frozenset({volume(state=state)})
    found = compare_fabric(frozenset(), before=row, after=row)
    assert (frozenset({NAME}) if lost else frozenset()) == found.lost


@pytest.mark.parametrize("state", VolumeState)
def test_a_target_is_a_stray_where_nobody_may_reach_the_volume(state: VolumeState) -> None:
    row = frozenset({volume(state=state)})
    found = compare_fabric(frozenset({NAME, "backup"}), before=row, after=row)
    expected = {NAME} if state in (V.RELEASED, V.FAULTY) else set()
    assert expected == found.strays


def test_a_target_that_became_wrong_during_the_look_is_left_to_who_works_on_it() -> None:
    before = frozenset({volume(state=V.DETACHING)})
    after = frozenset({volume(state=V.RELEASED)})
    assert frozenset() == compare_fabric(frozenset({NAME}), before=before, after=after).strays


def test_a_jump_of_the_clock_ends_no_quarantine() -> None:
    assert 700.0 == waited_s(before_s=100, last_look_at=0, now=86_400, interval_s=300)
    assert 100.0 == waited_s(before_s=100, last_look_at=5000, now=0, interval_s=300)
    assert 400.0 == waited_s(before_s=100, last_look_at=0, now=300, interval_s=300)


@pytest.mark.parametrize(
    ("strays", "accounted", "held"), [(3, 0, False), (4, 4, False), (4, 3, True), (900, 0, True)]
)
def test_a_storage_that_looks_like_anothers_is_not_swept(
    strays: int, accounted: int, held: bool
) -> None:
    assert held is bool(why_held(strays=strays, accounted=accounted))


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    assert "a, b" == list_names(["b", "a"])
    assert "a, b, c, d, e and 2 more" == list_names("gfedcba")
