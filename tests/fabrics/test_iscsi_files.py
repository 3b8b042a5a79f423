"""A target goes on with the file that it was made of, whatever lies in its place by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.fabrics.base import Access, ExportSpec
from clonepool.testing.fabric_rig import RW, SERVER_A, Exports
from tests.fabrics.rigs import BLOCK, IscsiClient, IscsiRig

pytestmark = pytest.mark.tgt

CHAP = ChapAccount(username="user-a", secret="secret-of-a-12")


def attach(rig: IscsiRig, spec: ExportSpec) -> IscsiClient:
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, Access(initiator=SERVER_A, chap=CHAP))
    return rig.connect(connection, initiator=SERVER_A, chap=CHAP)


def test_a_target_that_serves_a_removed_or_replaced_file_is_found(
    iscsi: IscsiRig, exports: Exports
) -> None:
    """tgtd opens a file when its LUN is made; what lies there later is another one."""
    spec, other = exports.spec("vol-a-g1"), exports.spec("vol-b-g1")
    iscsi.fabric.export(other)
    client = attach(iscsi, spec)
    volume = spec.luns[1].path
    volumes: dict[str, Path | None] = {each.target: each.luns[1].path for each in (spec, other)}
    assert {} == iscsi.fabric.astray({**volumes, "vol-c-g1": volume})
    content = volume.read_bytes()
    volume.unlink()
    (where,) = iscsi.fabric.astray({**volumes, spec.target: None}).values()
    client.write(RW, 0, b"x" * BLOCK)
    assert b"x" * BLOCK + content[BLOCK:] == Path(where).read_bytes()
    volume.write_bytes(content)
    assert {spec.target: where} == iscsi.fabric.astray(volumes)
    client.close()
    iscsi.fabric.unexport(spec.target)
    iscsi.fabric.export(spec)
    assert {} == iscsi.fabric.astray(volumes)


def test_a_target_whose_file_was_moved_away_is_found_though_its_place_is_unknown(
    iscsi: IscsiRig, exports: Exports, tmp_path: Path
) -> None:
    spec = exports.spec()
    iscsi.fabric.export(spec)
    volume = spec.luns[1].path
    volume.rename(tmp_path / "moved")
    assert {spec.target: ""} == iscsi.fabric.astray({spec.target: None})
    (tmp_path / "moved").rename(volume)
    assert {} == iscsi.fabric.astray({spec.target: volume})
