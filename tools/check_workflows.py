"""Look over the CI workflows: they parse, end in time and pin what they use."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"[\w.-]+/[\w./-]+@v\d+\.\d+\.\d+")


def step_complaints(step: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one step."""
    action = step.get("uses")
    if action is not None and not PINNED.fullmatch(action):
        yield f"{action} is not pinned to a version such as v1.2.3"
    if action is None and "run" not in step:
        yield "a step neither uses nor runs anything"


def complaints(path: Path) -> Iterator[str]:
    """What is wrong with one workflow, as ``FILE: JOB: why``."""
    try:
        workflow = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        yield f"{path}: does not parse: {error}"
        return
    jobs = workflow.get("jobs") or {}
    if not jobs:
        yield f"{path}: has no jobs"
    for name, job in jobs.items():
        if "timeout-minutes" not in job:
            yield f"{path}: {name}: has no timeout-minutes"
        for step in job.get("steps", ()):
            yield from (f"{path}: {name}: {why}" for why in step_complaints(step))


def main() -> int:
    paths = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
    found = [line for path in paths for line in complaints(path)]
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
