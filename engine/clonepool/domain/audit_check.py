"""Checks an exported audit, line by line, without an engine. Pure.

A file is JSON lines: a ``header`` (engine, first and last entry, head), the entries in their order,
then a ``holding`` for each volume that somebody has now, then an ``end`` (count and digest of the
lines before it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from clonepool.domain.audit import FORMAT, HELD, SCRUBBED, entry_hash, genesis
from clonepool.domain.content import canonical
from clonepool.errors import DataLoss

_KINDS: Final = (HELD, SCRUBBED)
_ENTRY: Final[Mapping[str, type]] = {
    "n": int,
    "previous": str,
    "hash": str,
    "volume": str,
    "generation": int,
    "attachment": str,
}
_USER: Final[Mapping[str, type]] = {"system_user": dict}
_HEADER: Final[Mapping[str, type]] = {
    "engine": str,
    "first": int,
    "count": int,
    "previous": str,
    "head": str,
}
_HOLDING: Final[Mapping[str, type]] = {"volume": str, "generation": int, "system_user": dict}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a file that holds has in it; ``complete``: from the engine's first entry on."""

    engine_id: str
    head: str
    entries: int
    volumes: int
    holdings: int
    complete: bool


@dataclass(kw_only=True)
class _Volume:
    """What is known of a volume: its generation, and who had it and is not erased yet."""

    generation: int
    user: dict[str, str] | None = None
    scrubbed: bool = False


@dataclass(kw_only=True)
class _Check:
    header: Mapping[str, Any]
    previous: str
    n: int
    entries: int = 0
    holdings: int = 0
    seen_hashes: set[str] = field(default_factory=set)
    volumes: dict[str, _Volume] = field(default_factory=dict)


def check_lines(lines: Iterable[str], *, expected_head: str = "") -> Checked:
    """Check a whole file. Raises DataLoss that names the line and what is wrong with it.

    ``expected_head`` is a hash noted at an earlier time: it must be in the chain.
    """
    numbered = _documents(lines)
    check = _begin(*next(numbered, (0, {})))
    digest = hashlib.sha256()
    digest.update(canonical_line(check.header))
    for number, document in numbered:
        kind = document.get("kind")
        if kind == "end":
            _end(check, number, document, digest=digest.hexdigest(), rest=numbered)
            return _checked(check, expected_head)
        digest.update(canonical_line(document))
        if kind == "holding":
            _holding(check, number, document)
        else:
            _entry(check, number, document)
    raise DataLoss("the file has no end: it was cut off; export it again", reason="AUDIT_CUT_OFF")


def canonical_line(document: Mapping[str, Any]) -> bytes:
    """A line as the end's digest counts it."""
    return canonical(document).encode() + b"\n"


def _refuse(number: int, text: str) -> DataLoss:
    return DataLoss(f"line {number}: {text}", reason="AUDIT_BROKEN")


def _documents(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        try:
            document = json.loads(line, object_pairs_hook=_named_once)
        except (ValueError, RecursionError):
            text = "is no JSON, or names something twice; the file was changed or cut off"
            raise _refuse(number, text) from None
        if not isinstance(document, dict):
            raise _refuse(number, "is no JSON object")
        yield number, document


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values of one name the last would be checked, and who reads the file sees both."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands twice")
    return document


def _require(number: int, document: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    for name, kind in fields.items():
        if not isinstance(document.get(name), kind) or isinstance(document[name], bool):
            raise _refuse(number, f"has no {name}, or it is no {kind.__name__}")


def _begin(number: int, header: dict[str, Any]) -> _Check:
    if header.get("kind") != "header" or header.get("format") != FORMAT:
        raise _refuse(
            number or 1,
            f"is no header of a {FORMAT} file; export one with `clonepool audit export`",
        )
    _require(number, header, _HEADER)
    first = header["first"]
    if first == 1 and header["previous"] != genesis(header["engine"]):
        raise _refuse(number, "does not begin the chain of the engine that it names")
    return _Check(header=header, previous=header["previous"], n=first - 1)


def _entry(check: _Check, number: int, document: dict[str, Any]) -> None:
    if document.get("kind") not in _KINDS:
        raise _refuse(number, f"has the kind {document.get('kind')!r}, which is not known")
    if check.holdings:
        raise _refuse(number, "is an entry behind the list of what is held now")
    _require(number, document, _ENTRY)
    body = {name: value for name, value in document.items() if name != "hash"}
    if entry_hash(body) != document["hash"]:
        raise _refuse(number, f"entry {document['n']} was changed: its hash does not match")
    if document["n"] != check.n + 1 or document["previous"] != check.previous:
        raise _refuse(
            number,
            f"entry {document['n']} does not follow entry {check.n}: an entry was taken out, put "
            "in or moved",
        )
    check.n, check.previous = document["n"], document["hash"]
    check.entries += 1
    check.seen_hashes.add(document["hash"])
    if document["kind"] == SCRUBBED and document.get("system_user", {}) is None:
        _scrubbed_unused(check, number, document)
        return
    _require(number, document, _USER)
    if document["kind"] == HELD:
        _take(check, number, document, doing="had")
    else:
        _scrubbed(check, number, document)


def _take(check: _Check, number: int, entry: Mapping[str, Any], *, doing: str) -> None:
    """Somebody has a generation: whoever had the volume before must have been erased."""
    volume_id, generation, user = entry["volume"], entry["generation"], entry["system_user"]
    known = check.volumes.get(volume_id)
    if known is not None and not known.scrubbed and known.user not in (None, user):
        raise _refuse(
            number,
            f"volume {volume_id} went from {_said(known.user)} to {_said(user)} without a scrub "
            "record between",
        )
    least = _least_generation(check, known)
    if least and generation < least:
        raise _refuse(
            number,
            f"{_said(user)} {doing} generation {generation} of volume {volume_id}, which was "
            "erased before",
        )
    if least and generation > least:
        raise _refuse(
            number,
            f"volume {volume_id} went from generation {least} to {generation} without a scrub "
            "record between",
        )
    check.volumes[volume_id] = _Volume(generation=generation, user=user)


def _least_generation(check: _Check, known: _Volume | None) -> int:
    """The one generation that can come next; 0 where the file does not tell."""
    if known is not None:
        return known.generation + 1 if known.scrubbed else known.generation
    return 1 if check.header["first"] == 1 else 0


def _scrubbed(check: _Check, number: int, entry: Mapping[str, Any]) -> None:
    volume_id, generation = entry["volume"], entry["generation"]
    known = check.volumes.get(volume_id)
    if known is None and check.header["first"] == 1:
        raise _refuse(number, f"volume {volume_id} was scrubbed, and nobody had it before")
    if known is not None and known.scrubbed:
        raise _refuse(number, f"volume {volume_id} was scrubbed twice, and nobody had it between")
    if known is not None and (known.generation, known.user) != (generation, entry["system_user"]):
        raise _refuse(
            number,
            f"the scrub record of volume {volume_id} generation {generation} names "
            f"{_said(entry['system_user'])}; {_said(known.user)} had generation "
            f"{known.generation}",
        )
    check.volumes[volume_id] = _Volume(generation=generation, scrubbed=True)


def _scrubbed_unused(check: _Check, number: int, entry: Mapping[str, Any]) -> None:
    """A replica that was lost or changed while it was ready: nobody had this generation."""
    volume_id, generation = entry["volume"], entry["generation"]
    known = check.volumes.get(volume_id)
    if known is not None and not known.scrubbed:
        raise _refuse(
            number,
            f"the scrub record of volume {volume_id} generation {generation} names nobody; "
            f"{_said(known.user)} had generation {known.generation}",
        )
    least = _least_generation(check, known)
    if least and generation != least:
        raise _refuse(
            number,
            f"volume {volume_id} generation {generation} was scrubbed, and generation {least} "
            "was next",
        )
    check.volumes[volume_id] = _Volume(generation=generation, scrubbed=True)


def _holding(check: _Check, number: int, document: Mapping[str, Any]) -> None:
    _require(number, document, _HOLDING)
    check.holdings += 1
    _take(check, number, document, doing="has")


def _end(
    check: _Check,
    number: int,
    end: Mapping[str, Any],
    *,
    digest: str,
    rest: Iterator[tuple[int, dict[str, Any]]],
) -> None:
    header = check.header
    if (check.entries, check.previous) != (header["count"], header["head"]):
        raise _refuse(
            number,
            f"the header tells of {header['count']} entries up to {header['head'][:12]}, and here "
            f"are {check.entries} up to {check.previous[:12]}: entries were taken out or put in",
        )
    if end.get("digest") != digest or end.get("holdings") != check.holdings:
        raise _refuse(number, "the file was changed: its digest does not match")
    extra = next(rest, None)
    if extra is not None:
        raise _refuse(extra[0], "is behind the file's end")


def _checked(check: _Check, expected_head: str) -> Checked:
    known = check.seen_hashes | {check.header["previous"]}
    if expected_head and expected_head not in known:
        raise DataLoss(
            f"the hash {expected_head} is not in this chain: it is of another engine, or of a "
            "history that was rewritten",
            reason="AUDIT_OTHER_CHAIN",
        )
    return Checked(
        engine_id=check.header["engine"],
        head=check.header["head"],
        entries=check.entries,
        volumes=len(check.volumes),
        holdings=check.holdings,
        complete=check.header["first"] == 1,
    )


def _said(user: Mapping[str, str] | None) -> str:
    return f"{user.get('kind')} {user.get('name')}" if user else "nobody"
