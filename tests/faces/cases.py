"""All cases, in the order of their files."""

from __future__ import annotations

from tests.faces import cases_changing, cases_planning
from tests.faces.table import Case

CASES: tuple[Case, ...] = (*cases_planning.CASES, *cases_changing.CASES)
