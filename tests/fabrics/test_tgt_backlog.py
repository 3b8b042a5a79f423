"""More callers than tgtd lets wait: they queue in the kernel, nobody is turned away."""

from __future__ import annotations

import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clonepool.fabrics.tgt import Tgt, TgtAway, TgtMode, TgtOp

OK = struct.pack("=II", 0, 8)


def _serve(listener: socket.socket, *, requests: int) -> None:
    for _ in range(requests):
        link, _address = listener.accept()
        with link:
            link.recv(4096)
            link.sendall(OK)


def test_callers_beyond_the_backlog_wait_for_their_turn(tmp_path: Path) -> None:
    callers = 24
    begun = threading.Barrier(callers + 1)

    def call(tgt: Tgt) -> str:
        begun.wait()
        return tgt.call(TgtMode.TARGET, TgtOp.SHOW)

    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(callers) as executor:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(0)
        tgt = Tgt(address=str(tmp_path / "sock"))
        answers = [executor.submit(call, tgt) for _ in range(callers)]
        begun.wait()
        _serve(listener, requests=callers)
        assert [""] * callers == [answer.result() for answer in answers]


def test_a_tgtd_that_accepts_nobody_is_away_once_the_time_is_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(0)
        first.connect(str(tmp_path / "sock"))  # the backlog is full
        tgt = Tgt(address=str(tmp_path / "sock"), timeout_s=0.2)
        with pytest.raises(TgtAway, match="no tgtd answers"):
            tgt.call(TgtMode.TARGET, TgtOp.SHOW)
