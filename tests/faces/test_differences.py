"""What differs on purpose is named, shown by a case, and explained in the page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.faces.cases import CASES
from tests.faces.differences import PAGE, Difference, rows
from tests.faces.model import Face
from tests.faces.table import Case, Level

ROOT = PAGE.parents[1]
LEAST = 40


def _used() -> Iterator[tuple[Case, Difference, Face]]:
    for case in CASES:
        for difference, faces in case.differs.items():
            for face in faces:
                yield case, difference, face


def test_every_named_difference_is_shown_by_a_case_and_stands_in_the_page() -> None:
    assert set(Difference) == {difference for _, difference, _ in _used()}
    assert [str(each) for each in Difference] == list(rows())


def test_each_row_says_how_it_is_on_every_face_and_why() -> None:
    for name, cells in rows().items():
        assert len(Face) + 2 == len(cells), name
        assert all(cells), f"{name} has an empty cell"


@pytest.mark.parametrize(
    ("case", "difference", "face"),
    [pytest.param(*each, id=f"{each[0].name}: {each[2]}") for each in _used()],
)
def test_a_difference_is_one(case: Case, difference: Difference, face: Face) -> None:
    """Each part of it is other than what the case expects of everybody."""
    own = case.differs[difference][face]

    assert own
    assert own.keys() <= case.expect.keys()
    assert [] == [part for part, value in own.items() if value == case.expect[part]]


def test_there_are_forty_cases_and_a_dozen_by_the_command_lines() -> None:
    names = [case.name for case in CASES]

    assert LEAST <= len(names) == len(set(names))
    assert 12 <= sum(case.level is Level.COMMAND_LINE for case in CASES)


def test_what_the_page_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE.read_text())

    assert links
    assert [] == [link for link in links if not (PAGE.parent / link).exists()]
