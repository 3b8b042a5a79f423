"""tools/lint_workflows.py runs the linters that are here, and says which one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_workflows, lint_workflows

WORKFLOW = """\
name: trial
on: [pull_request]
permissions: {}
jobs:
  one:
    name: one
    runs-on: ubuntu-24.04
    timeout-minutes: 1
    steps:
      - run: SCRIPT
"""


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither actionlint nor go; zizmor is the virtual environment's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo ${{ github.head_ref }}", 1, "template-injection"),
        ("echo fine", 0, "neither actionlint nor go is installed"),
    ],
)
def test_what_zizmor_finds_fails_the_check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    script: str,
    code: int,
    said: str,
) -> None:
    path = tmp_path / ".github/workflows/trial.yml"
    path.parent.mkdir(parents=True)
    path.write_text(WORKFLOW.replace("SCRIPT", script))
    monkeypatch.setattr(check_workflows, "ROOT", tmp_path)
    assert code == lint_workflows.main()
    told = capfd.readouterr()
    assert said in told.out + told.err
