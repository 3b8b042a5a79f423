"""Look over the CI workflows, our own and those of the examples.

They parse, end in time, pin what they use to a commit, ask for no right that they don't name, and
put nothing that comes from elsewhere into a shell's words.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".github/workflows", "examples/**/workflows")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
# a commit says nothing to a reader, and to what renews it
NAMED = re.compile(r"uses: *(\S+@[0-9a-f]{40}) +# v\d+(?:\.\d+)*\s*$", re.MULTILINE)
EXPRESSION = "${{"
# with the rights and the secrets of the repository, on what anybody may have sent in
TRUSTING = ("pull_request_target", "workflow_run", "issue_comment")


def files(root: Path) -> list[Path]:
    """Every workflow that is looked over."""
    return sorted(path for folder in FOLDERS for path in root.glob(f"{folder}/*.y*ml"))


def step_complaints(step: Mapping[str, Any], *, named: set[str]) -> Iterator[str]:
    """What is wrong with one step; ``named`` are the actions with their version beside them."""
    action, script = step.get("uses"), step.get("run")
    if action is None and script is None:
        yield "a step neither uses nor runs anything"
    if action is not None:
        if not PINNED.fullmatch(action):
            yield f"{action} is not pinned to a commit (40 hex digits)"
        elif action not in named:
            yield f"{action} has no comment with its version, such as # v1.2.3"
        checkout = action.startswith("actions/checkout@")
        if checkout and step.get("with", {}).get("persist-credentials") is not False:
            yield "checkout leaves its token behind; set persist-credentials: false"
    if EXPRESSION in (script or ""):
        yield "an expression in a shell script; hand it over by env"


def permission_complaints(where: Mapping[str, Any], *, writable: bool) -> Iterator[str]:
    """What is wrong with the rights that a workflow or a job names."""
    rights = where.get("permissions")
    if isinstance(rights, str):
        yield f"permissions: {rights} is more than is needed; name each right"
    elif rights and not writable and "write" in rights.values():
        yield "a right to write for all jobs; give it to the one that needs it"


def job_complaints(job: Mapping[str, Any], *, named: set[str]) -> Iterator[str]:
    """What is wrong with one job."""
    if "timeout-minutes" not in job:
        yield "has no timeout-minutes"
    yield from permission_complaints(job, writable=True)
    for step in job.get("steps", ()):
        yield from step_complaints(step, named=named)


def complaints(path: Path) -> Iterator[str]:
    """What is wrong with one workflow, as ``FILE: JOB: why``."""
    text = path.read_text()
    try:
        workflow = yaml.safe_load(text)
    except yaml.YAMLError as error:
        yield f"{path}: does not parse: {error}"
        return
    named = set(NAMED.findall(text))
    # YAML 1.1 takes the word `on` for true
    events = workflow.get("on", workflow.get(True)) or ()
    yield from (f"{path}: runs on {each}" for each in TRUSTING if each in events)
    if "permissions" not in workflow:
        yield f"{path}: has no permissions; start from `permissions: {{}}`"
    yield from (f"{path}: {why}" for why in permission_complaints(workflow, writable=False))
    jobs = workflow.get("jobs") or {}
    if not jobs:
        yield f"{path}: has no jobs"
    for name, job in jobs.items():
        yield from (f"{path}: {name}: {why}" for why in job_complaints(job, named=named))


def main() -> int:
    found = [line for path in files(ROOT) for line in complaints(path)]
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
