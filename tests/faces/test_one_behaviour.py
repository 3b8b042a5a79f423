"""Each case on each face: one declaration, one lifecycle, one outcome."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faces.bench import Bench
from tests.faces.cases import CASES
from tests.faces.model import Face
from tests.faces.table import Case, Level

_COMMANDS = {
    Face.DYNAMIC: ("pulumi", "slow"),
    Face.PLUGIN: ("pulumi", "pulumi_yaml", "slow"),
    Face.TERRAFORM: ("terraform", "slow"),
}


def _params() -> Iterator[object]:
    for case in CASES:
        for face in Face:
            names = [*case.marks, *(_COMMANDS[face] if case.level is Level.COMMAND_LINE else ())]
            marks = [getattr(pytest.mark, name) for name in names]
            yield pytest.param(case, face, id=f"{case.name}: {face}", marks=marks)


@pytest.mark.parametrize(("case", "face"), list(_params()))
def test_every_face_behaves_alike(case: Case, face: Face, bench: Bench) -> None:
    assert case.expected(face) == case.play(bench)
