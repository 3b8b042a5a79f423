"""Tgtd's listings are read right, recorded from tgt 1.0.85."""

from __future__ import annotations

import pytest

from clonepool.fabrics.tgt_show import (
    ShownConnection,
    ShownLun,
    doubtful_tids,
    find_forger,
    parse_accounts,
    parse_connections,
    parse_portals,
    parse_targets,
)

LUN_0 = """\
        LUN: 0
            Type: controller
            SCSI ID: IET     00070000
            SCSI SN: beaf70
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags: \n"""
LUNS = """\
        LUN: 1
            Type: disk
            SCSI ID: 600d
            SCSI SN: image-v1
            Size: 8 MB, Block size: 512
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: Yes
            SWP: No
            Thin-provisioning: No
            Backing store type: rdwr
            Backing store path: /srv/pool/a image.img
            Backing store flags: 
        LUN: 2
            Type: disk
            SCSI ID: 6ab12ab12ab12ab12ab12ab12ab12abc
            SCSI SN: 0123456789abcdef0123456789abcdef-g1
            Size: 8 MB, Block size: 512
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: rdwr
            Backing store path: /srv/pool/w.img
            Backing store flags: \n"""  # noqa: W291 - so it is printed
HEAD = """\
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
"""
NEXUS = """\
        I_T nexus: 1
            Initiator: iqn.2026-01.x:host alias: {alias}
            Connection: 0
                IP Address: 127.0.0.1
"""
TAIL = """\
    Account information:
{accounts}    ACL information:
{names}"""


def target(tid: int, name: str, *, alias: str | None = None, names: str = "") -> str:
    nexus = "" if alias is None else NEXUS.format(alias=alias)
    accounts = "        user-1\n" if alias is not None else ""
    body = HEAD + nexus + "    LUN information:\n" + LUN_0 + LUNS
    return (
        f"Target {tid}: iqn.2026-01.x:{name}\n" + body + TAIL.format(accounts=accounts, names=names)
    )


def test_a_target_in_use_is_read_whole() -> None:
    (shown,) = parse_targets(target(7, "vol-1", alias="none", names="        iqn.2026-01.x:host\n"))
    assert (7, "iqn.2026-01.x:vol-1") == (shown.tid, shown.iqn)
    assert (
        ShownLun(
            number=1,
            path="/srv/pool/a image.img",
            read_only=True,
            scsi_id="600d",
            serial="image-v1",
        ),
        ShownLun(
            number=2,
            path="/srv/pool/w.img",
            read_only=False,
            scsi_id="6ab12ab12ab12ab12ab12ab12ab12abc",
            serial="0123456789abcdef0123456789abcdef-g1",
        ),
    ) == shown.luns
    assert ("user-1",) == shown.accounts
    assert ("iqn.2026-01.x:host",) == shown.initiators
    assert shown.in_use
    assert shown.whole


def test_several_targets_and_none_are_read() -> None:
    shown = parse_targets(target(1, "a") + target(2, "b") + "\n")
    assert [1, 2] == [each.tid for each in shown]
    assert () == shown[1].accounts + shown[1].initiators
    assert () == parse_targets("")


def test_the_last_of_each_section_counts() -> None:
    forged = "x\n    Account information:\n        theirs\n    ACL information:\n        iqn.evil"
    (shown,) = parse_targets(target(7, "vol-1", alias=forged))
    assert ("user-1",) == shown.accounts
    assert () == shown.initiators


FORGED = (
    "x\n    LUN information:\n    Account information:\n    ACL information:\nTarget {tid}: iqn.x"
)


@pytest.mark.parametrize(
    ("tid", "present"),
    [
        pytest.param(99, frozenset({9}), id="an id that is not there"),
        pytest.param(3, frozenset({3, 9}), id="an id out of order"),
        pytest.param(9, frozenset({9}), id="the id of a later target"),
    ],
)
def test_a_forged_target_gives_its_forger_away(tid: int, present: frozenset[int]) -> None:
    listing = (
        target(3, "a") + target(7, "b", alias=FORGED.format(tid=tid)) + target(8, "c")
    ) + target(9, "d")
    shown = parse_targets(listing)
    assert tid in doubtful_tids(shown)
    assert 7 == find_forger(shown, present=present)


def test_an_honest_listing_has_no_forger() -> None:
    shown = parse_targets(target(3, "a", alias="none") + target(7, "b", alias="x") + target(9, "c"))
    assert (7, 9) == doubtful_tids(shown)
    assert find_forger(shown, present=frozenset({7, 9})) is None


def test_connections_are_read() -> None:
    text = (
        "Session: 3\n    Connection: 0\n        Initiator: iqn.2026-01.x:a\n"
        "        IP Address: 127.0.0.1\n"
        "Session: 1\n    Connection: 2\n        Initiator: iqn.2026-01.x:b\n        RDMA\n"
    )
    assert (
        ShownConnection(sid=3, cid=0, initiator="iqn.2026-01.x:a", address="127.0.0.1"),
        ShownConnection(sid=1, cid=2, initiator="iqn.2026-01.x:b", address=""),
    ) == parse_connections(text)
    assert () == parse_connections("")


def test_accounts_are_read() -> None:
    assert frozenset({"u1", "u2"}) == parse_accounts("Account list:\n    u1\n    u2\n")
    assert frozenset() == parse_accounts("")


def test_portals_are_read() -> None:
    assert ("127.0.0.1:49583", "[::1]:3260") == parse_portals(
        "Portal: 127.0.0.1:49583,1\nPortal: [::1]:3260,1\n"
    )
