"""`terraform apply` of attachments, against as many of the built-in `terraform_data`."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Goal
from benchmarks.needs import need_terraform, need_tgt
from benchmarks.processes import BIN
from benchmarks.stacks import FULL, QUICK, SMOKE, Comparison, Sizes, StackSite, Steps, measure
from tests.terraform.project import TerraformProject

NAME = "terraform_apply"
GOAL = Goal(ratio=2.0)
__all__ = ["FULL", "NAME", "QUICK", "SMOKE", "run"]
_FLOOR = """
resource "terraform_data" "nothing" {{
  count = {count}
  input = "server-${{count.index}}"
}}
"""
_ATTACHMENTS = """
resource "clonepool_server_storage_attachment" "each" {{
  count = {count}
  name  = "{pool}-${{count.index}}"
  pool  = "{pool}"
  inline_server = {{
    name      = "{pool}-${{count.index}}"
    initiator = "iqn.2026-01.example:{pool}-${{count.index}}"
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One working directory."""

    project: TerraformProject

    def go_through(self) -> Steps:
        """Seconds of each whole command; the apply plans by itself, the destroy refreshes."""
        return {
            "plan": self._timed("plan"),
            "apply": self._timed("apply", "-auto-approve"),
            "destroy": self._timed("destroy", "-auto-approve"),
        }

    def _timed(self, *words: str) -> float:
        began = time.perf_counter()
        self.project.run(*words)
        return time.perf_counter() - began


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Plan, apply and destroy of both; in between the pool is scrubbed full again."""
    need_tgt()
    terraform = need_terraform()
    home = scratch / "home"
    home.mkdir()
    _install_provider(home)

    def subject(folder: Path, site: StackSite) -> Stack:
        project = TerraformProject(
            folder=folder,
            home=home,
            terraform=terraform,
            variables={"CLONEPOOL_ENDPOINT": site.endpoint},
        )
        project.init(_ATTACHMENTS.format(count=site.count, pool=site.pool))
        return Stack(project=project)

    comparison = Comparison(
        benchmark=NAME,
        command="terraform",
        floor=lambda folder, count: _floor(folder, home, terraform, count=count),
        subject=subject,
        floor_name="the same command on as many of the built-in terraform_data",
        timed="apply",
        goal=GOAL,
    )
    return measure(comparison, scratch=scratch, sizes=sizes)


def _floor(folder: Path, home: Path, terraform: str, *, count: int) -> Stack:
    """Without our provider, which Terraform would start for it all the same."""
    project = TerraformProject(folder=folder, home=home, terraform=terraform, variables={})
    folder.mkdir()
    (folder / "main.tf").write_text(_FLOOR.format(count=count))
    project.run("init")
    return Stack(project=project)


def _install_provider(home: Path) -> None:
    """As users do it."""
    subprocess.run(
        [BIN / "clonepool", "terraform", "install"],
        check=True,
        env={**os.environ, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
