"""Reading tgtd's listings.

The listing of targets holds text that servers choose: a session's line ends with the initiator's
alias, which may contain line breaks and so forge any line, even a whole target. What tgtd itself
prints of a target comes after its sessions, so of each section the last one counts; and a forged
target breaks the rising order of ids, or is not there when tgtd is asked for it by its id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_TARGET: Final = re.compile(r"Target (\d+): (\S+)")
_SECTION: Final = re.compile(r" {4}(\S.*) information:")
_LUN: Final = re.compile(r" {8}LUN: (\d+)")
_ATTRIBUTE: Final = re.compile(r" {12}(SCSI ID|SCSI SN|Readonly|Backing store path): (.*)")
_ENTRY: Final = re.compile(r" {8}(\S+)")
_SESSION: Final = re.compile(r"Session: (\d+)")
_CONNECTION: Final = re.compile(r" {4}Connection: (\d+)")
_INITIATOR: Final = re.compile(r" {8}Initiator: (\S+)")
_ADDRESS: Final = re.compile(r" {8}IP Address: (\S+)")
_PORTAL: Final = re.compile(r"Portal: (\S+),\d+")


@dataclass(frozen=True, kw_only=True)
class ShownLun:
    """One LUN as tgtd has it."""

    number: int
    path: str
    read_only: bool
    scsi_id: str
    serial: str


@dataclass(frozen=True, kw_only=True)
class ShownTarget:
    """One target as tgtd has it; ``whole`` is False when a section is missing."""

    tid: int
    iqn: str
    luns: tuple[ShownLun, ...]
    accounts: tuple[str, ...]
    initiators: tuple[str, ...]  # names, and addresses that somebody else bound
    in_use: bool  # sessions were listed, so what follows may be forged
    whole: bool


@dataclass(frozen=True, kw_only=True)
class ShownConnection:
    """One connection of a session, by the ids that end it."""

    sid: int
    cid: int
    initiator: str
    address: str


def parse_targets(text: str) -> tuple[ShownTarget, ...]:
    """The targets of a ``show``, in the order listed; LUN 0, tgtd's own, is left out."""
    blocks: list[tuple[int, str, list[str]]] = []
    for line in text.split("\n"):
        if header := _TARGET.fullmatch(line):
            blocks.append((int(header[1]), header[2], []))
        elif blocks:
            blocks[-1][2].append(line)
    return tuple(_target(tid=tid, iqn=iqn, lines=lines) for tid, iqn, lines in blocks)


def find_forger(targets: Sequence[ShownTarget], *, present: frozenset[int]) -> int | None:
    """The id of a target whose sessions' text forged the next target's header, or None.

    ``present`` are those of ``doubtful_tids`` for which tgtd answered. tgtd lists its targets by
    rising id, each once, so a forged header has an id that is absent, too low, or listed again
    where it belongs.
    """
    for index, (before, after) in enumerate(pairwise(targets)):
        if not before.in_use:
            continue
        listed_again = _is_listed_in_order(targets[index + 1 :], tid=after.tid)
        if not before.whole or after.tid <= before.tid:
            return before.tid
        if after.tid not in present or listed_again:
            return before.tid
    return None


def _is_listed_in_order(targets: Sequence[ShownTarget], *, tid: int) -> bool:
    pairs = pairwise(targets)
    return any(after.tid == tid and before.tid < tid for before, after in pairs)


def doubtful_tids(targets: Sequence[ShownTarget]) -> tuple[int, ...]:
    """The ids to ask tgtd for before the listing is believed: those after a target in use."""
    pairs = pairwise(targets)
    return tuple(after.tid for before, after in pairs if before.in_use)


def parse_accounts(text: str) -> frozenset[str]:
    """The user names of an account listing."""
    lines = text.split("\n")[1:]  # the first is a title
    return frozenset(line.strip() for line in lines if line.strip())


def parse_connections(text: str) -> tuple[ShownConnection, ...]:
    """The connections of one target; names in it were checked by tgtd against its ACL."""
    connections: list[ShownConnection] = []
    sid = cid = 0
    initiator = ""
    for line in text.split("\n"):
        if match := _SESSION.fullmatch(line):
            sid = int(match[1])
        elif match := _CONNECTION.fullmatch(line):
            cid = int(match[1])
        elif match := _INITIATOR.fullmatch(line):
            initiator = match[1]
            connections.append(ShownConnection(sid=sid, cid=cid, initiator=initiator, address=""))
        elif connections and (match := _ADDRESS.fullmatch(line)):
            connections[-1] = ShownConnection(
                sid=sid, cid=cid, initiator=initiator, address=match[1]
            )
    return tuple(connections)


def parse_portals(text: str) -> tuple[str, ...]:
    """The ``address:port`` that tgtd listens on."""
    return tuple(match[1] for match in map(_PORTAL.fullmatch, text.split("\n")) if match)


def _target(*, tid: int, iqn: str, lines: Sequence[str]) -> ShownTarget:
    sections = _last_sections(lines)
    needed = {"LUN", "Account", "ACL"}
    return ShownTarget(
        tid=tid,
        iqn=iqn,
        luns=_luns(sections.get("LUN", ())),
        accounts=_entries(sections.get("Account", ())),
        initiators=_entries(sections.get("ACL", ())),
        in_use=any(line.startswith(" " * 12 + "Initiator: ") for line in lines),
        whole=needed <= sections.keys(),
    )


def _last_sections(lines: Sequence[str]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if header := _SECTION.fullmatch(line):
            current = []
            sections[header[1]] = current
        else:
            current.append(line)
    return sections


def _luns(lines: Sequence[str]) -> tuple[ShownLun, ...]:
    found: list[tuple[int, dict[str, str]]] = []
    for line in lines:
        if header := _LUN.fullmatch(line):
            found.append((int(header[1]), {}))
        elif found and (attribute := _ATTRIBUTE.fullmatch(line)):
            found[-1][1][attribute[1]] = attribute[2]
    return tuple(
        ShownLun(
            number=number,
            path=attributes.get("Backing store path", ""),
            read_only=attributes.get("Readonly") == "Yes",
            scsi_id=attributes.get("SCSI ID", ""),
            serial=attributes.get("SCSI SN", ""),
        )
        for number, attributes in found
        if number
    )


def _entries(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(match[1] for match in map(_ENTRY.fullmatch, lines) if match)
