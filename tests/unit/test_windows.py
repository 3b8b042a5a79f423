"""Windows of scrubbing: what is written, when they are open, when they open next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clonepool.errors import InvalidArgument
from clonepool.windows import is_open, next_opening, parse_window

# 2026-11-28 is a Saturday
SATURDAY = datetime(2026, 11, 28, tzinfo=UTC)


def at(clock: str, *, days: int = 0) -> float:
    hours, minutes = map(int, clock.split(":"))
    return (SATURDAY + timedelta(days=days, hours=hours, minutes=minutes)).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "22:00",
        "22:00-",
        "22-06",
        "24:00-06:00",
        "22:60-06:00",
        "22:00-25:00",
        "22:00-24:01",
        "9:00-17:00",
        "09:00-09:00",
        "MON 09:00-17:00",
        "mon - fri 09:00-17:00",
        "mon-fri-sun 09:00-17:00",
        "funday 09:00-17:00",
        "mon-fri  09:00-17:00",
        " 09:00-17:00",
        "09:00-17:00\n",
        "09:00-17:00 mon",
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgument, match="22:00-06:00") as refused:
        parse_window(text, field="scrub.windows[0]")
    assert ["scrub.windows[0]"] == [each.field for each in refused.value.violations]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("09:00-17:00", {0, 1, 2, 3, 4, 5, 6}),
        ("mon-fri 09:00-17:00", {0, 1, 2, 3, 4}),
        ("sat,sun 09:00-17:00", {5, 6}),
        ("fri-mon 09:00-17:00", {4, 5, 6, 0}),
        ("mon,wed-thu 09:00-17:00", {0, 2, 3}),
        ("tue 09:00-17:00", {1}),
    ],
)
def test_days_are_named_alone_in_ranges_and_in_lists(text: str, days: set[int]) -> None:
    assert days == parse_window(text).days


def test_without_windows_it_is_always_open() -> None:
    assert is_open((), at=at("12:00"))


def test_a_window_is_open_from_its_first_minute_to_before_its_last() -> None:
    open_at = [
        clock
        for clock in ("08:59", "09:00", "16:59", "17:00")
        if is_open(["09:00-17:00"], at=at(clock))
    ]
    assert ["09:00", "16:59"] == open_at


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    window = ["sat 22:00-06:00"]
    assert is_open(window, at=at("22:00"))
    assert is_open(window, at=at("05:59", days=1))
    assert not is_open(window, at=at("06:00", days=1))
    assert not is_open(window, at=at("05:59")), "that night would belong to Friday"
    assert not is_open(window, at=at("22:00", days=1)), "Sunday"


def test_the_whole_day_ends_at_24() -> None:
    assert is_open(["sat 00:00-24:00"], at=at("23:59"))
    assert not is_open(["sat 00:00-24:00"], at=at("00:00", days=1))


def test_any_of_several_windows_will_do() -> None:
    windows = ["mon-fri 22:00-06:00", "sat,sun 00:00-24:00"]
    assert is_open(windows, at=at("12:00"))
    assert not is_open(windows, at=at("12:00", days=2))
    assert is_open(windows, at=at("23:00", days=2))


def test_the_next_opening_is_the_nearest() -> None:
    assert at("22:00", days=2) == next_opening(["mon-fri 22:00-06:00"], at=at("12:00"))
    assert at("12:00") == next_opening(["sat 10:00-13:00"], at=at("12:00")), "open already"
    assert at("10:00", days=7) == next_opening(["sat 10:00-11:00"], at=at("12:00"))


_DAYS = st.sampled_from(["", "mon ", "sat,sun ", "mon-fri ", "fri-mon "])
_CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))


@given(st.lists(st.tuples(_DAYS, _CLOCKS, _CLOCKS), min_size=1, max_size=3), st.integers(0, 10**7))
def test_at_the_next_opening_it_is_open_and_not_before(
    parts: list[tuple[str, str, str]], minutes: int
) -> None:
    windows = [f"{days}{begin}-{end}" for days, begin, end in parts if begin != end]
    now = minutes * 60.0
    opens = next_opening(windows, at=now)
    assert is_open(windows, at=opens)
    assert now <= opens <= now + 7 * 86400
    assert opens == now or not is_open(windows, at=opens - 60)
