"""The steps of a workflow's one job, run as GitHub runs them: by bash, with their variables."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{ *([\w.]+) *\}\}")


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A workflow of one job; ``values`` is what its expressions stand for, absent ones being ""."""

    path: Path
    values: Mapping[str, str]

    def run(
        self, step: str, *, folder: Path, environment: Mapping[str, str], **changed: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a step in ``folder``; ``changed`` takes the place of variables of the job."""
        (job,) = yaml.safe_load(self.path.read_text())["jobs"].values()
        found: dict[str, Any] = next(each for each in job["steps"] if each.get("name") == step)
        stated = {**job.get("env", {}), **changed, **found.get("env", {})}
        return subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]],
            cwd=folder,
            env={**environment, **{name: self._value(text) for name, text in stated.items()}},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def _value(self, text: str) -> str:
        return _EXPRESSION.sub(lambda found: self.values.get(found[1], ""), text)
