"""All cases, in the order of their files."""

from __future__ import annotations

from tests.faces import (
    cases_changing,
    cases_command_line,
    cases_input,
    cases_interrupted,
    cases_planning,
    cases_refusals,
    cases_state,
)
from tests.faces.table import Case

CASES: tuple[Case, ...] = (
    *cases_planning.CASES,
    *cases_changing.CASES,
    *cases_input.CASES,
    *cases_refusals.CASES,
    *cases_state.CASES,
    *cases_command_line.CASES,
    *cases_interrupted.CASES,
)
