"""pytest in the guest: its results by test, so that a failure in there reads as one out here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as Xml

from tests.support.guest import ROOT, GuestRun, run_in_guest

_OUTPUT_CHARS: Final = 6000
_FAILURE_CHARS: Final = 8000


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the tests in the guest came to, by test: how it failed, why it was skipped."""

    code: int
    passed: Sequence[str]
    failed: Mapping[str, str]
    skipped: Mapping[str, str]
    output: str

    def find_problem(self) -> str | None:
        """What is wrong with this run, in full; None when tests ran and all of them passed."""
        if self.failed:
            parts = [f"{len(self.failed)} test(s) failed in the guest"]
            parts += [f"--- {name}\n{text[-_FAILURE_CHARS:]}" for name, text in self.failed.items()]
            return "\n".join(parts)
        tail = self.output[-_OUTPUT_CHARS:]
        if self.code != 0:
            return f"pytest ended with {self.code} in the guest\n{tail}"
        if not self.passed:
            return f"no test ran in the guest\n{tail}"
        return None

    def summary(self) -> str:
        """One line: how many passed, and what was skipped."""
        line = f"{len(self.passed)} passed in the guest"
        if self.skipped:
            reasons = "; ".join(sorted(set(self.skipped.values())))
            line += f", {len(self.skipped)} skipped: {reasons}"
        return line


def run_pytest_in_guest(
    paths: Sequence[Path], *, share: Path, timeout_s: float, memory_mib: int = 1024
) -> Results:
    """Boot the guest and run the tests of ``paths`` in it. Raises GuestFailed.

    ``share`` as for ``run_in_guest``.
    """
    report = share / "results.xml"
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    argv += ["--durations=5", f"--junitxml={report}", *(str(path) for path in paths)]
    environment = {"CI": os.environ.get("CI", ""), "PYTHONDONTWRITEBYTECODE": "1"}
    run = run_in_guest(
        argv,
        share=share,
        timeout_s=timeout_s,
        cwd=ROOT,
        memory_mib=memory_mib,
        environment=environment,
    )
    return read_results(report, run=run)


def read_results(report: Path, *, run: GuestRun) -> Results:
    """Read a run's JUnit report; without one no test counts."""
    passed: list[str] = []
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    # our own pytest wrote it, a moment ago
    cases = Xml.parse(report).iter("testcase") if report.exists() else ()  # noqa: S314
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        broken = [part for part in case if part.tag in {"failure", "error"}]
        left_out = case.find("skipped")
        if broken:
            failed[name] = "\n".join(
                part.text or part.get("message") or part.tag for part in broken
            )
        elif left_out is not None:
            skipped[name] = left_out.get("message", "")
        else:
            passed.append(name)
    return Results(code=run.code, passed=passed, failed=failed, skipped=skipped, output=run.output)
