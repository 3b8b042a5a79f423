"""A Ctrl-C in the middle of a start waits until what is started can be ended."""

from __future__ import annotations

import signal

import pytest

from clonepool.testing.interrupts import undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_held_back_and_then_delivered(number: signal.Signals) -> None:
    heard: list[int] = []
    before = signal.signal(number, lambda number, _frame: heard.append(number))
    try:
        with undisturbed() as deliver:
            signal.raise_signal(number)
            assert [] == heard
        assert [] == heard
        deliver()
        deliver()
    finally:
        signal.signal(number, before)

    assert [number] == heard


def test_afterwards_the_handlers_are_what_they_were() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    with pytest.raises(RuntimeError), undisturbed():
        raise RuntimeError("it could not be started")

    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
