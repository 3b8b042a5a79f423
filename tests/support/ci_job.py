"""A job of GitHub Actions as the scripts of examples/ci-preview see it: its variables and files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.github_server import PULL_REQUEST, REPOSITORY, TOKEN

SCRIPTS: Final = Path(__file__).resolve().parents[2] / "examples/ci-preview"
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
_LEFT_OUT: Final = ("GITHUB_", "CLONEPOOL_", "PULUMI_")


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a script ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job, for a pull request unless ``event`` is another one."""

    folder: Path
    api_url: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def markdown(self) -> Path:
        """What goes from one script to the other."""
        return self.folder / "forecast.md"

    @property
    def summary(self) -> str:
        """What the job's page shows."""
        path = self.folder / "summary.md"
        return path.read_text() if path.exists() else ""

    def event(self, *, fork: bool = False, **more: Any) -> None:
        """Write the event that the job is for; by keyword, another one than a pull request's."""
        head = {"sha": COMMIT, "repo": {"full_name": "mallory/infra" if fork else REPOSITORY}}
        base = {"repo": {"full_name": REPOSITORY}}
        pull_request = {"number": PULL_REQUEST, "head": head, "base": base}
        text = json.dumps(more or {"pull_request": pull_request})
        (self.folder / "event.json").write_text(text)

    def environment(self, **more: str) -> dict[str, str]:
        """The job's, with nothing of ours from outside it."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(_LEFT_OUT)}
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return {
            **kept,
            "GITHUB_API_URL": self.api_url,
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "42",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_TOKEN": TOKEN,
            "TMPDIR": str(scratch),
            **self.variables,
            **more,
        }

    def argv(self, script: str, *words: str) -> list[str]:
        """The command line of one of the scripts."""
        return [sys.executable, str(SCRIPTS / script), *words]

    def run(self, script: str, *words: str, **more: str) -> Done:
        """Run a script to its end."""
        done = subprocess.run(
            self.argv(script, *words),
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def leftovers(self) -> list[str]:
        """What the scripts left in the temporary folder."""
        return sorted(path.name for path in (self.folder / "scratch").iterdir())
