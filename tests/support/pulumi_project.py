"""A Pulumi project in a folder of its own: a state, a home and a PATH that nothing leaks into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VENV = Path(sys.prefix)
_FROM_PATH = "warning: using pulumi-"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command printed; ``text`` is both streams, as a person sees them."""

    exit_code: int
    stdout: str
    text: str

    @property
    def diagnostics(self) -> list[str]:
        """The lines of the section of that name: above it, Pulumi shows them while it works."""
        _, _, section = self.text.partition("\nDiagnostics:\n")
        # the sections' lines are indented, deepest what was said, and an empty line ends a group
        listed = section.partition("\nResources:")[0].partition("\nOutputs:")[0]
        lines = [line.strip() for line in listed.splitlines() if line.startswith("    ")]
        # a plugin that stands on PATH, as in tests, is remarked on each time
        return [line for line in lines if not line.startswith(_FROM_PATH)]


@dataclass(frozen=True, kw_only=True)
class PulumiProject:
    """One project with one stack, offline: its state is a folder, no plugin is downloaded.

    ``plugin_folders`` go on PATH, where Pulumi looks for providers' plugins.
    """

    folder: Path
    pulumi_bin: Path
    name: str = "trial"
    stack: str = "test"
    plugin_folders: Sequence[Path] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What the command line, its language host and the program run with."""
        path = [VENV / "bin", *self.plugin_folders, self.pulumi_bin]
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("PULUMI_")}
        return {
            **inherited,
            "PATH": os.pathsep.join([*map(str, path), os.environ.get("PATH", "")]),
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_SKIP_CONFIRMATIONS": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # the language host of the old module reads this, current ones read Pulumi.yaml
            "VIRTUAL_ENV": str(VENV),
            **self.variables,
        }

    def write(self, program: str) -> None:
        """Put the program in place; the next preview or up runs it."""
        self._source.mkdir(parents=True, exist_ok=True)
        (self._source / "__main__.py").write_text(program)

    def create(self, program: str) -> None:
        """Lay the project out and make its stack."""
        (self.folder / "state").mkdir(parents=True)
        self.write(program)
        self.describe()
        self.run("stack", "init", self.stack)

    def describe(self) -> None:
        """Write its Pulumi.yaml."""
        options = {"toolchain": "pip", "virtualenv": str(VENV)}
        described = {"name": self.name, "runtime": {"name": "python", "options": options}}
        # JSON is YAML
        (self._source / "Pulumi.yaml").write_text(json.dumps(described))

    @property
    def _source(self) -> Path:
        return self.folder / "program"

    def run(self, *words: str, expect: int | None = 0, timeout_s: float = 300) -> Result:
        """Run ``pulumi WORDS``; a test fails, with all that was printed, on another exit code.

        ``expect=None`` takes any.
        """
        argv = [str(self.pulumi_bin / "pulumi"), *words, "--non-interactive", "--color=never"]
        done = subprocess.run(
            argv,
            cwd=self._source,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        text = done.stdout + done.stderr
        said = f"pulumi {' '.join(words)} exited with {done.returncode}:\n{text}"
        assert expect is None or done.returncode == expect, said
        return Result(exit_code=done.returncode, stdout=done.stdout, text=text)

    def read_json(self, *words: str) -> Any:
        """Run a command that has ``--json`` and parse what it prints."""
        return json.loads(self.run(*words, "--json").stdout)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in the clear."""
        shown: dict[str, Any] = self.read_json("stack", "output", "--show-secrets")
        return shown

    def state(self) -> str:
        """The stack's state as stored: a secret in it is encrypted."""
        return self.run("stack", "export").stdout
