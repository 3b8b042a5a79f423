"""Sizes and durations: what is written is what is meant, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clonepool.errors import InvalidArgument
from clonepool.units import (
    MAX_SIZE_BYTES,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1B", 1),
        ("512B", 512),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("500MB", 500 * 10**6),
        ("10GiB", 10 * 2**30),
        ("1.5TB", 1_500_000_000_000),
        ("1.5KiB", 1536),
        (" 2 TiB ", 2 * 2**40),
        ("1PiB", 2**50),
        ("9223372036854775807B", MAX_SIZE_BYTES),
    ],
)
def test_a_size_with_its_unit_is_bytes(text: str, expected: int) -> None:
    assert expected == parse_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "GiB",
        "10 gib",
        "10G",
        "-1B",
        "+1B",
        "1e3B",
        "1,5GB",
        ".5GB",
        "1.GB",
        "0B",
        "0GiB",
        "0.5B",
        "1.0001KiB",
        "8192PiB",
        "9223372036854775808B",
        "10GiB 1MiB",
        "0x10B",
        "1\n0B",
        "nan",
        "infB",
        "１GiB",  # noqa: RUF001 - a digit, but not one of ours
    ],
)
def test_what_is_no_size_is_refused_by_the_fields_name(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_size(text, field="writable.size")
    assert ["writable.size"] == [violation.field for violation in refused.value.violations]


@given(count=st.integers(1, 1023), power=st.integers(0, 5))
def test_a_whole_size_survives_being_shown(count: int, power: int) -> None:
    size_bytes = count * 1024**power
    assert size_bytes == parse_size(format_size(size_bytes))


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1 GiB"), (3 * 2**50, "3.0 PiB")],
)
def test_a_size_is_shown_in_binary_units(size_bytes: int, expected: str) -> None:
    assert expected == format_size(size_bytes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0.0),
        ("30s", 30.0),
        ("250ms", 0.25),
        ("1.5m", 90.0),
        ("1h30m", 5400.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        (" 5m ", 300.0),
    ],
)
def test_a_duration_with_its_units_is_seconds(text: str, expected: float) -> None:
    assert expected == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1y", "1 h", "1h 30m", "1h30", "1h,30m", "1e9s", "36501d", "٣s"]
)
def test_what_is_no_duration_is_refused_by_the_fields_name(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_duration(text, field="timeouts.create")
    assert ["timeouts.create"] == [violation.field for violation in refused.value.violations]


@given(seconds=st.integers(1, 10**8))
def test_a_duration_is_shown_to_its_two_largest_units(seconds: int) -> None:
    """Read back, at most what lies below the second unit is missing."""
    shown = parse_duration(format_duration(seconds).replace(" ", ""))
    assert 0 <= seconds - shown < 3600
    assert shown > seconds * 0.9


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.012, "12ms"), (3.2, "3.2s"), (59, "59s"), (60, "1m"), (7500, "2h 5m"), (86_461, "1d 1m")],
)
def test_a_duration_is_shown_for_people(seconds: float, expected: str) -> None:
    assert expected == format_duration(seconds)
