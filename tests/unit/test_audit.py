"""An exported audit holds, or is refused with the line that does not: no engine is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from clonepool.domain.audit import FORMAT, entry_hash, genesis, sealed
from clonepool.domain.audit_check import Checked, canonical_line, check_lines
from clonepool.errors import DataLoss

ENGINE = "engine-1"
ACME = {"name": "acme", "kind": "customer"}
SHOP = {"name": "shop", "kind": "application"}
Document = dict[str, Any]


class File:
    """A file as an engine would write it; what is put in is up to the test."""

    def __init__(self, *, engine: str = ENGINE) -> None:
        self.engine = engine
        self.entries: list[Document] = []
        self.holdings: list[Document] = []

    def add(
        self, kind: str, volume: str, generation: int, user: Document | None, **more: Any
    ) -> None:
        previous = self.entries[-1]["hash"] if self.entries else genesis(self.engine)
        body = {
            "volume": volume,
            "generation": generation,
            "system_user": user,
            "attachment": "a",
            **more,
        }
        entry = sealed(n=len(self.entries) + 1, previous=previous, kind=kind, body=body)
        self.entries.append({**entry, "hash": entry_hash(entry)})

    def held(self, volume: str, generation: int, user: Document) -> None:
        self.add("held", volume, generation, user)

    def scrubbed(self, volume: str, generation: int, user: Document | None) -> None:
        self.add("scrubbed", volume, generation, user)

    def holds(self, volume: str, generation: int, user: Document) -> None:
        self.holdings.append(
            {"kind": "holding", "volume": volume, "generation": generation, "system_user": user}
        )

    def documents(self, *, first: int = 1) -> list[Document]:
        part = self.entries[first - 1 :]
        start = self.entries[first - 2]["hash"] if first > 1 else genesis(self.engine)
        header = {
            "kind": "header",
            "format": FORMAT,
            "engine": self.engine,
            "first": first,
            "count": len(part),
            "previous": start,
            "head": part[-1]["hash"] if part else start,
        }
        return [header, *part, *self.holdings]


def lines(documents: list[Document]) -> list[str]:
    """With the end that goes with them, as a forger would make it too."""
    digest = hashlib.sha256(b"".join(map(canonical_line, documents))).hexdigest()
    holdings = sum(each["kind"] == "holding" for each in documents)
    end = {"kind": "end", "holdings": holdings, "digest": digest}
    return [canonical_line(each).decode() for each in [*documents, end]]


def history() -> File:
    """Two volumes: one goes from acme to shop, one is resumed by acme and has come back."""
    file = File()
    file.held("v1", 1, ACME)
    file.held("v2", 1, ACME)
    file.scrubbed("v1", 1, ACME)
    file.held("v2", 1, ACME)
    file.held("v1", 2, SHOP)
    file.scrubbed("v2", 1, ACME)
    file.holds("v2", 2, SHOP)
    return file


def refused(written: list[str], **options: Any) -> str:
    with pytest.raises(DataLoss) as error:
        check_lines(written, **options)
    return str(error.value)


def test_a_true_history_holds() -> None:
    file = history()
    expected = Checked(
        engine_id=ENGINE,
        head=file.entries[-1]["hash"],
        entries=6,
        volumes=2,
        holdings=1,
        complete=True,
    )
    assert expected == check_lines(lines(file.documents()))


def test_an_engine_without_a_history_has_an_audit_too() -> None:
    assert 0 == check_lines(lines(File().documents())).entries


@pytest.mark.parametrize("first", [2, 3, 6])
def test_a_part_holds_from_any_entry_on(first: int) -> None:
    checked = check_lines(lines(history().documents(first=first)))
    assert (7 - first, False) == (checked.entries, checked.complete)


@pytest.mark.parametrize("index", range(1, 7))
def test_an_entry_taken_out_is_missed(index: int) -> None:
    documents = history().documents()
    del documents[index]
    # without the last one, a volume changes hands
    assert ("taken out" if index < 6 else "without a scrub record") in refused(lines(documents))


@pytest.mark.parametrize("index", range(1, 7))
def test_a_changed_entry_is_noticed(index: int) -> None:
    documents = history().documents()
    documents[index] = {**documents[index], "system_user": SHOP, "attachment": "b"}
    assert f"entry {index} was changed" in refused(lines(documents))


@pytest.mark.parametrize("index", range(1, 6))
def test_two_entries_that_changed_places_are_noticed(index: int) -> None:
    documents = history().documents()
    documents[index], documents[index + 1] = documents[index + 1], documents[index]
    assert "moved" in refused(lines(documents))


@pytest.mark.parametrize("kept", range(8))
def test_a_file_that_was_cut_off_is_refused(kept: int) -> None:
    written = lines(history().documents())
    assert "cut off" in refused(written[:kept]) or kept == 0
    with pytest.raises(DataLoss):
        check_lines([*written[:kept], written[kept][: len(written[kept]) // 2]])


def test_a_tail_cut_off_with_a_new_end_is_still_missed_by_the_head() -> None:
    file = history()
    file.holdings.clear()
    documents = file.documents()
    del documents[6]
    assert "taken out" in refused(lines(documents))


def test_a_tail_cut_off_with_a_new_header_is_told_by_a_head_that_was_noted() -> None:
    """Whoever rewrites the whole file can't bring back a hash that somebody else has."""
    file = history()
    noted = file.entries[-1]["hash"]
    del file.entries[-1]
    file.holdings.clear()
    written = lines(file.documents())
    check_lines(written)
    assert "not in this chain" in refused(written, expected_head=noted)


def test_a_head_that_was_noted_earlier_is_in_the_chain() -> None:
    file = history()
    for entry in file.entries:
        check_lines(lines(file.documents()), expected_head=entry["hash"])


def test_another_engines_chain_is_not_taken_for_this_ones() -> None:
    documents = history().documents()
    documents[0] = {**documents[0], "engine": "engine-2"}
    assert "does not begin the chain" in refused(lines(documents))


def _to_another(file: File) -> None:
    file.held("v3", 1, ACME)
    file.held("v3", 1, SHOP)


def _to_another_now(file: File) -> None:
    file.held("v3", 1, ACME)
    file.holds("v3", 1, SHOP)


def _next_generation(file: File) -> None:
    file.held("v3", 1, ACME)
    file.held("v3", 2, ACME)


def _next_generation_now(file: File) -> None:
    file.held("v3", 1, ACME)
    file.holds("v3", 2, ACME)


def _first_generation_unseen(file: File) -> None:
    file.holds("v3", 2, ACME)


def _others_bytes_erased(file: File) -> None:
    file.held("v3", 1, ACME)
    file.scrubbed("v3", 1, SHOP)


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (_to_another, "went from customer acme to application shop without a scrub record"),
        (_to_another_now, "went from customer acme to application shop without a scrub record"),
        (_next_generation, "from generation 1 to 2 without a scrub record"),
        (_next_generation_now, "from generation 1 to 2 without a scrub record"),
        (_first_generation_unseen, "from generation 1 to 2 without a scrub record"),
        (_others_bytes_erased, "customer acme had generation 1"),
    ],
)
def test_a_volume_that_changes_hands_without_a_record_is_refused(
    happens: Callable[[File], None], said: str
) -> None:
    """In a chain that is whole: the engine itself would have done it."""
    file = File()
    happens(file)
    assert said in refused(lines(file.documents()))


def test_a_replica_lost_while_it_was_ready_is_scrubbed_and_nobody_had_it() -> None:
    file = File()
    file.scrubbed("v1", 1, None)
    file.scrubbed("v1", 2, None)
    file.held("v1", 3, ACME)
    file.scrubbed("v1", 3, ACME)
    file.scrubbed("v1", 4, None)
    file.holds("v1", 5, SHOP)
    assert 5 == check_lines(lines(file.documents())).entries


@pytest.mark.parametrize(("generation", "problem"), [(1, "names nobody"), (2, "names nobody")])
def test_a_record_that_names_nobody_hides_no_user(generation: int, problem: str) -> None:
    file = File()
    file.held("v1", 1, ACME)
    file.scrubbed("v1", generation, None)
    with pytest.raises(DataLoss, match=problem):
        check_lines(lines(file.documents()))


def test_a_record_that_names_nobody_leaves_no_generation_out() -> None:
    file = File()
    file.scrubbed("v1", 2, None)
    with pytest.raises(DataLoss, match="generation 1 was next"):
        check_lines(lines(file.documents()))


def test_an_erased_generation_has_nobody_any_more() -> None:
    file = File()
    file.held("v3", 1, ACME)
    file.scrubbed("v3", 1, ACME)
    file.holds("v3", 1, SHOP)
    assert "was erased before" in refused(lines(file.documents()))


@pytest.mark.parametrize(
    "change",
    [
        {"holdings": 0},
        {"digest": "0" * 64},
    ],
)
def test_a_list_of_holders_that_was_shortened_is_noticed(change: Document) -> None:
    written = lines(history().documents())
    end = {**json.loads(written[-1]), **change}
    assert "digest" in refused([*written[:-1], json.dumps(end)])


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"kind": "end"}', "null", "1"])
def test_what_is_no_audit_is_refused(text: str) -> None:
    assert refused([text])
    assert refused([])


@pytest.mark.parametrize("index", range(1, 9))
@pytest.mark.parametrize("name", ["system_user", "holdings"])
def test_a_value_put_before_the_true_one_is_noticed(index: int, name: str) -> None:
    """Most readers take the last of two values of a name, and a person the first."""
    written = lines(history().documents())
    inside = json.loads(written[index])
    if name in inside:
        written[index] = f'{{"{name}": "somebody else", ' + written[index][1:]
        with pytest.raises(DataLoss, match=f"line {index + 1}: .* twice"):
            check_lines(written)


def test_a_line_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(DataLoss, match="line 1: is no JSON"):
        check_lines(["[" * 200_000])
