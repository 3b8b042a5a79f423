"""tools/check_workflows.py finds what must not be in a workflow, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_workflows import ROOT, complaints, files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = f"""\
on:
  pull_request:
permissions:
  contents: read
jobs:
  one:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      pull-requests: write
    steps:
      - uses: actions/checkout@{COMMIT} # v6.0.2
        with:
          persist-credentials: false
      - env:
          TITLE: ${{{{ github.event.pull_request.title }}}}
        run: echo "$TITLE"
"""


def found(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "ci.yml"
    path.write_text(text)
    return [line.removeprefix(f"{path}: ") for line in complaints(path)]


def test_a_workflow_that_keeps_the_rules_passes(tmp_path: Path) -> None:
    assert [] == found(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (f"@{COMMIT} # v6.0.2", "@v6.0.2", "one: actions/checkout@v6.0.2 is not pinned"),
        (f"@{COMMIT} # v6.0.2", "@main", "one: actions/checkout@main is not pinned"),
        (" # v6.0.2", "", f"one: actions/checkout@{COMMIT} has no comment with its version"),
        ("persist-credentials: false", "fetch-depth: 1", "one: checkout leaves its token behind"),
        ('echo "$TITLE"', "echo ${{ github.head_ref }}", "one: an expression in a shell script"),
        ("    timeout-minutes: 5\n", "", "one: has no timeout-minutes"),
        ("permissions:\n  contents: read\n", "", "has no permissions"),
        ("permissions:\n  contents: read", "permissions: write-all", "permissions: write-all is"),
        ("contents: read", "contents: write", "a right to write for all jobs"),
        (
            "permissions:\n      pull-requests: write",
            "permissions: read-all",
            "one: permissions: read-all is more than is needed",
        ),
        ("pull_request:", "pull_request_target:", "runs on pull_request_target"),
        ("on:\n  pull_request:", "on: [push, workflow_run]", "runs on workflow_run"),
        ("jobs:", "work:", "has no jobs"),
        ("        run:", "        ran:", "one: a step neither uses nor runs anything"),
        ("on:", "on: [", "does not parse"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    (line,) = found(tmp_path, GOOD.replace(old, new, 1))
    assert line.startswith(expected)


def test_our_own_workflows_and_those_of_the_examples_are_looked_over() -> None:
    looked_over = {path.relative_to(ROOT).as_posix() for path in files(ROOT)}
    expected = {
        ".github/workflows/ci.yml",
        "examples/ci-preview/workflows/pulumi.yml",
        "examples/ci-preview/workflows/terraform.yml",
    }
    assert expected <= looked_over
    assert [] == [line for path in files(ROOT) for line in complaints(path)]
