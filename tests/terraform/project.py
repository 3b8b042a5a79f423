"""A Terraform configuration of a test's own, with its own home, state and engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROVIDER = """
terraform {
  required_providers {
    clonepool = {
      source = "clonepool/clonepool"
    }
  }
}
"""
_LIMIT_S = 120
_NO_CHANGES = "No changes."


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one command said, without colours and with its lines joined where they were wrapped."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Everything, as one line: Terraform wraps messages to a terminal's width."""
        words = f"{self.stdout}\n{self.stderr}".replace("│", " ").split()
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class TerraformProject:
    """One working directory. ``home`` is where `clonepool terraform install` was run."""

    folder: Path
    home: Path
    terraform: str
    variables: dict[str, str]

    def write(self, configuration: str, *, name: str = "main.tf") -> None:
        """Write a file of it; the first is given the provider's place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "versions.tf").write_text(PROVIDER)
        (self.folder / name).write_text(configuration)

    def init(self, configuration: str) -> None:
        """Write it and initialize."""
        self.write(configuration)
        self.run("init")

    def apply(self, *words: str, expect: int = 0) -> Result:
        """Apply without asking."""
        return self.run("apply", "-auto-approve", *words, expect=expect)

    def destroy(self, *words: str, expect: int = 0) -> Result:
        """Destroy everything without asking."""
        return self.run("destroy", "-auto-approve", *words, expect=expect)

    def plan(self, *words: str) -> dict[str, Any]:
        """A plan as JSON, kept as the file ``plan``."""
        self.run("plan", "-out=plan", *words)
        return self.show("plan")

    def changes(self, *words: str) -> dict[str, list[str]]:
        """What a plan does, by address; what it leaves alone is not in it."""
        planned = self.plan(*words)["resource_changes"]
        actions = {each["address"]: each["change"]["actions"] for each in planned}
        return {address: done for address, done in actions.items() if done != ["no-op"]}

    def assert_empty_plan(self) -> None:
        """A plan that changes nothing: its exit code says so."""
        done = self.run("plan", "-detailed-exitcode", expect=None)
        assert 0 == done.code, done.stdout + done.stderr
        assert _NO_CHANGES in done.stdout

    def show(self, *words: str) -> dict[str, Any]:
        """The state, or a plan, as JSON."""
        shown: dict[str, Any] = json.loads(self.run("show", "-json", *words).stdout)
        return shown

    def resources(self) -> dict[str, dict[str, Any]]:
        """The values in the state by address."""
        root = self.show().get("values", {}).get("root_module", {})
        return {each["address"]: each["values"] for each in root.get("resources", [])}

    def outputs(self) -> dict[str, Any]:
        """The outputs' values."""
        found = json.loads(self.run("output", "-json").stdout)
        return {name: output["value"] for name, output in found.items()}

    def state_text(self) -> str:
        """The state file."""
        return (self.folder / "terraform.tfstate").read_text()

    def run(self, *words: str, expect: int | None = 0) -> Result:
        """Run one command; None expects nothing of its exit code."""
        done = subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
        result = Result(code=done.returncode, stdout=done.stdout, stderr=done.stderr)
        if expect is not None:
            assert expect == done.returncode, f"{words}: {done.stdout}\n{done.stderr}"
        return result

    def argv(self, *words: str) -> list[str]:
        """The command line; colours would stand between the words."""
        bare = words[0] in {"show", "output", "version", "state", "providers", "fmt"}
        return [self.terraform, *words, *([] if bare else ["-no-color"])]

    def environment(self) -> dict[str, str]:
        """The user's, without what would lead elsewhere."""
        kept = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("CLONEPOOL_", "TF_", "XDG_"))
        }
        programs = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", "")))
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": programs,
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            **self.variables,
        }
