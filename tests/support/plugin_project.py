"""Pulumi projects that use the plugin, in YAML and other languages, and the plugin they find."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.pulumi_project import PulumiProject

LAUNCHER = "pulumi-resource-clonepool"


def write_launcher(folder: Path) -> Path:
    """Put the plugin of this checkout into a folder for PATH: what an installation puts there."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / LAUNCHER
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from pulumi_clonepool_plugin.main import main\n"
        "sys.exit(main())\n"
    )
    script.chmod(0o755)
    return folder


@dataclass(frozen=True, kw_only=True)
class YamlProject(PulumiProject):
    """A project whose program is its Pulumi.yaml, without the two lines that name it."""

    def write(self, program: str) -> None:
        """Put the program in place; the next preview or up runs it."""
        self._source.mkdir(parents=True, exist_ok=True)
        head = f"name: {self.name}\nruntime: yaml\n"
        (self._source / "Pulumi.yaml").write_text(head + program)

    def create(self, program: str) -> None:
        """Lay the project out and make its stack."""
        (self.folder / "state").mkdir(parents=True)
        self.write(program)
        self.run("stack", "init", self.stack)


@dataclass(frozen=True, kw_only=True)
class NodeProject(PulumiProject):
    """A TypeScript project; ``modules`` is the folder of its installed dependencies."""

    modules: Path

    def lay_out(self, example: Path) -> None:
        """Take an example as it is, with its dependencies installed, and make its stack."""
        (self.folder / "state").mkdir(parents=True)
        shutil.copytree(example, self._source)
        (self._source / "node_modules").symlink_to(self.modules)
        self.run("stack", "init", self.stack)
