"""What fits a storage: in worked numbers, and as a promise that no order of events breaks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clonepool.domain.capacity import (
    UNLIMITED,
    Capacity,
    Limits,
    Owed,
    clones_are_full,
    way_out_of,
)
from clonepool.domain.states import CloneMode


def capacity(free_bytes: int = 100, **changes: Any) -> Capacity:
    """Of 100 bytes, 20 in reserve."""
    limits = Limits(reserve_bytes=20, overcommit=changes.pop("overcommit", None))
    owed = Owed(full_bytes=changes.pop("full", 0), thin_bytes=changes.pop("thin", 0))
    return Capacity(total_bytes=100, free_bytes=free_bytes, limits=limits, owed=owed, **changes)


@pytest.mark.parametrize(
    ("clone_bytes", "free_bytes", "expected"),
    [(10, 100, 7), (10, 39, 0), (10, 40, 1), (10, 30, 0), (0, 31, UNLIMITED), (0, 30, 0)],
)
def test_full_clones_fit_beside_the_reserve_and_what_full_ones_may_grow_by(
    clone_bytes: int, free_bytes: int, expected: int
) -> None:
    seen = capacity(free_bytes, full=10)
    assert expected == seen.clones_that_fit(clone_bytes=clone_bytes, full=True)


@pytest.mark.parametrize(
    ("overcommit", "thin", "expected"),
    [
        (None, 10**9, UNLIMITED),
        (1.0, 0, 7),
        (1.0, 65, 0),
        (1.5, 65, 4),
        (2.0, 65, 8),
        (2.0, 150, 0),
    ],
)
def test_thin_clones_fit_into_what_may_be_promised(
    overcommit: float | None, thin: int, expected: int
) -> None:
    """10 of 100 are used, 20 in reserve: 80, 120 or 160 may be promised, used ones included."""
    seen = capacity(90, overcommit=overcommit, thin=thin)
    assert expected == seen.clones_that_fit(clone_bytes=10, full=False)


def test_a_thin_clone_fits_no_storage_whose_reserve_is_reached() -> None:
    assert 0 == capacity(20).clones_that_fit(clone_bytes=10, full=False)


def test_a_full_clone_leaves_thin_ones_what_they_are_promised() -> None:
    seen = capacity(100, overcommit=1.0, thin=65)
    assert 1 == seen.clones_that_fit(clone_bytes=10, full=True)


def test_an_import_takes_nothing_of_what_is_promised() -> None:
    assert 15 == capacity(100, overcommit=1.0, thin=65).writable_bytes
    assert 80 == capacity(100, thin=65).writable_bytes
    assert 5 == capacity(100, overcommit=1.0, thin=65, incoming_bytes=10).writable_bytes


def test_it_says_whether_servers_could_fill_it() -> None:
    assert not capacity(100, thin=80).overcommitted
    assert capacity(100, thin=81).overcommitted


def test_the_way_out_is_of_the_limit_that_stands_in_the_way() -> None:
    asked: dict[str, Any] = {"clone_bytes": 10, "full": False, "storage": "fast"}
    assert "raise storages.fast.overcommit" in way_out_of(
        capacity(90, overcommit=1.0, thin=65), **asked
    )
    assert "free space" == way_out_of(capacity(10, overcommit=1.0), **asked)


def test_the_figures_say_what_is_used_owed_imported_and_promised() -> None:
    text = capacity(90, overcommit=1.5, thin=40, incoming_bytes=5).figures()
    assert (
        "90 B free of 100 B, 20 B of it in reserve, 40 B may still be written by its volumes, "
        "5 B are being imported, 55 B are promised, used ones included, of the 120 B that "
        "overcommit 1.5 allows"
    ) == text


@pytest.mark.parametrize(
    ("mode", "thin_clones", "expected"),
    [
        (CloneMode.AUTO, True, False),
        (CloneMode.AUTO, False, True),
        (CloneMode.FULL, True, True),
        (CloneMode.THIN, True, False),
    ],
)
def test_clones_are_full_where_asked_for_or_where_nothing_else_can_be(
    mode: CloneMode, thin_clones: bool, expected: bool
) -> None:
    assert expected is clones_are_full(mode, thin_clones=thin_clones)


class Site:
    """A storage of 1000 bytes with overcommit 1, things of others on it, and its volumes."""

    def __init__(self, *, others: int, reserve: int) -> None:
        self._others = others
        self._limits = Limits(reserve_bytes=reserve, overcommit=1.0)
        self.imported = 0
        self.volumes: list[list[Any]] = []  # size, own, full

    def seen(self) -> Capacity:
        own = sum(volume[1] for volume in self.volumes)
        owed = [sum(s - o for s, o, f in self.volumes if f is full) for full in (True, False)]
        return Capacity(
            total_bytes=1000,
            free_bytes=1000 - self._others - self.imported - own,
            limits=self._limits,
            owed=Owed(full_bytes=owed[0], thin_bytes=owed[1]),
        )

    def clone(self, size: int, *, full: bool) -> None:
        if self.seen().clones_that_fit(clone_bytes=size, full=full):
            self.volumes.append([size, size // 2 if full else 0, full])

    def import_image(self, size: int) -> None:
        self.imported += size if size <= self.seen().writable_bytes else 0

    def write(self, which: int, size: int) -> None:
        volume = self.volumes[which % len(self.volumes)]
        volume[1] = min(volume[0], volume[1] + size)


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["thin", "full", "write", "import", "drop"]), st.integers(1, 60)),
        max_size=60,
    ),
    others=st.integers(0, 300),
    reserve=st.integers(0, 900),
)
def test_with_overcommit_1_nothing_that_servers_write_reaches_the_reserve(
    events: list[tuple[str, int]], others: int, reserve: int
) -> None:
    """Whatever was let in: each volume may be written whole, and the reserve is still free."""
    site = Site(others=others, reserve=reserve)
    for what, size in events:
        if what in ("thin", "full"):
            site.clone(size, full=what == "full")
        elif what == "import":
            site.import_image(size)
        elif what == "write" and site.volumes:
            site.write(size, size)
        elif site.volumes:
            site.volumes.pop(size % len(site.volumes))
    for number in range(len(site.volumes)):
        site.write(number, 1000)
    nothing_was_let_in = not site.volumes and not site.imported
    assert nothing_was_let_in or reserve <= site.seen().free_bytes
