"""IscsiFabric without any rights: tgtd serves on a high port, out of the user's own folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.errors import FailedPrecondition
from clonepool.fabrics.base import Access
from clonepool.fabrics.tgt import Tgt, TgtAway
from clonepool.testing.fabric_rig import RO, RW, SERVER_A, Exports, Refused, WriteRefused
from clonepool.testing.initiator import initiator_available
from tests.fabrics.as_nobody import as_nobody, needs_root_to_become_nobody
from tests.fabrics.rigs import IscsiRig

pytestmark = [pytest.mark.tgt, needs_root_to_become_nobody]

ACCESS = Access(initiator=SERVER_A, chap=ChapAccount(username="user-a", secret="secret-of-a-12"))


def test_a_normal_user_serves_over_iscsi() -> None:
    assert initiator_available()  # and loaded, before the child loses its rights

    def serve(folder: Path) -> str:
        exports, rig = Exports(folder), IscsiRig(folder / "state")
        try:
            spec = exports.spec()
            rig.fabric.export(spec)
            connection = rig.fabric.grant(spec, ACCESS)
            client = rig.connect(connection, initiator=SERVER_A, chap=ACCESS.chap)
            client.write(RW, 0, b"x" * 512)
            try:
                client.write(RO, 0, b"x" * 512)
            except WriteRefused:
                read_only = "read-only"
            try:
                rig.connect(connection, initiator=SERVER_A, chap=None)
            except Refused:
                chap = "chap"
            rig.fabric.revoke(spec.target)
            return f"{read_only} {chap} alive={client.is_alive()}"
        finally:
            rig.stop()

    assert "read-only chap alive=False" == as_nobody(serve)


def test_a_writable_file_that_may_not_be_written_is_refused() -> None:
    """Tgtd would export it read-only and say nothing."""

    def export(folder: Path) -> str:
        exports, rig = Exports(folder), IscsiRig(folder / "state")
        try:
            spec = exports.spec()
            spec.luns[1].path.chmod(0o400)
            try:
                rig.fabric.export(spec)
            except FailedPrecondition as error:
                return str(error)
            return "exported"
        finally:
            rig.stop()

    assert "can't be written" in as_nobody(export)


def test_another_users_tgtd_does_not_answer(tmp_path: Path) -> None:
    """Its folder is closed, and tgtd itself hangs up on other users."""
    rig = IscsiRig(tmp_path / "state")
    try:
        rig.fabric.incarnation()
        folder = os.open(tmp_path / "state/tgtd", os.O_PATH)

        def ask(_folder: Path) -> str:
            answers = []
            for address in (tmp_path / "state/tgtd/sock.0", f"/proc/self/fd/{folder}/sock.0"):
                try:
                    answers.append(f"answered {Tgt(address=str(address)).peer_pid()}")
                except TgtAway as error:
                    answers.append(str(error))
            return "; ".join(answers)

        answer = as_nobody(ask)
        os.close(folder)
        assert 2 == answer.count("Permission denied")
    finally:
        rig.stop()
