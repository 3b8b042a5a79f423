#!/usr/bin/env python3
"""Run the README's programs on a real engine, and put what they print into the README.

Each program runs as it is, on an engine of its own that serves iSCSI. What shows that something is
on its way is left out, and what is only so here; the rest is as printed. Words name some of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# run by its path, Python looks for modules beside this file only
sys.path.insert(0, str(ROOT))

from clonepool.testing.engine_process import EngineProcess  # noqa: E402
from clonepool.testing.images import make_ext4_image  # noqa: E402
from tests.support.features import find_terraform  # noqa: E402
from tests.support.plugin_project import write_launcher  # noqa: E402
from tests.support.pulumi_project import PulumiProject  # noqa: E402
from tools import pulumi_cli, pulumi_extras  # noqa: E402

README = ROOT / "README.md"
SHOWN_IMAGE = "/srv/images/web.ext4"
IMAGE_BYTES = 64 * 2**20
# what is only on its way, and what Pulumi remarks on a plugin that stands on PATH, as it does here
_NOISE = re.compile(
    r"@ |.* creating \(|.*: Creating\.\.\.$|Duration: |"
    r".*using pulumi-resource-|Diagnostics:$|  pulumi:(providers:|pulumi:Stack \()"
)
# the last such line stays behind what is done
_TRAILING = re.compile(r" \d+ warnings$|(?<=s\)) .*: (importing|cloning).*$")
_LIMIT_S = 300


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A folder and an environment that a user's commands run in."""

    folder: Path
    environment: Mapping[str, str]
    image: Path

    def run(self, line: str) -> str:
        """One line as a user types it, and what it printed."""
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", line.replace(SHOWN_IMAGE, str(self.image))],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise SystemExit(f"{line}: {done.stdout}{done.stderr}")
        lines = [each for each in done.stdout.splitlines() if not _NOISE.match(each)]
        shown = [_TRAILING.sub("", each).rstrip() for each in lines]
        return "\n".join([f"$ {line}", *filter(None, shown)])

    def transcript(self, *lines: str) -> str:
        """Several, with an empty line between them."""
        return "\n\n".join(self.run(line) for line in lines)


@contextmanager
def engine() -> Iterator[tuple[Path, EngineProcess]]:
    """An engine, in a folder short enough for its socket."""
    folder = Path(tempfile.mkdtemp(prefix="cp-"))
    try:
        with EngineProcess(folder / "e") as running:
            yield folder, running
    finally:
        shutil.rmtree(folder)


def pulumi(example: str, *, hosts: Sequence[Path] = ()) -> str:
    """A Pulumi example's preview and up."""
    with engine() as (folder, running):
        folders = [write_launcher(folder / "bin"), *hosts]
        found = pulumi_cli.find()
        if found is None:
            raise SystemExit("no Pulumi command line; `make pulumi` gets one")
        project = PulumiProject(
            folder=folder,
            pulumi_bin=found,
            plugin_folders=folders,
            variables={"CLONEPOOL_ENDPOINT": running.endpoint},
        )
        shutil.copytree(ROOT / "examples" / example, folder / "program")
        (folder / "state").mkdir()
        described = folder / "program/Pulumi.yaml"
        described.write_text(described.read_text().replace("../../.venv", sys.prefix))
        shell = Shell(
            folder=folder / "program", environment=project.environment(), image=_image(folder)
        )
        shell.run("pulumi stack init dev")
        shell.run(f"pulumi config set image {SHOWN_IMAGE}")
        return shell.transcript("pulumi preview", "pulumi up --skip-preview")


def pulumi_yaml() -> str:
    """The same on the plugin."""
    return pulumi("pulumi-yaml", hosts=[pulumi_extras.ensure(["yaml"])])


def terraform() -> str:
    """The same with Terraform, or OpenTofu under its name."""
    program = find_terraform()
    if program is None:
        raise SystemExit("neither terraform nor tofu is on PATH")
    with engine() as (folder, running):
        (folder / "bin").mkdir()
        (folder / "bin/terraform").symlink_to(program)
        environment = {
            **os.environ,
            "HOME": str(folder),
            "PATH": os.pathsep.join(
                [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "CHECKPOINT_DISABLE": "1",
            "CLONEPOOL_ENDPOINT": running.endpoint,
            "TF_CLI_ARGS_apply": "-no-color",
            "TF_CLI_ARGS_plan": "-no-color",
        }
        shutil.copytree(ROOT / "examples/terraform-minimal", folder / "program")
        image = _image(folder)
        environment["TF_VAR_image"] = str(image)
        shell = Shell(folder=folder / "program", environment=environment, image=image)
        shell.run("clonepool terraform install")
        shell.run("terraform init")
        return shell.transcript(
            # a plan lists every attribute: too long for a first look
            "terraform plan -out=plan | grep -E '^  # |^Plan'",
            "terraform apply plan",
        )


def _image(folder: Path) -> Path:
    path = folder / "web.ext4"
    make_ext4_image(path, size_bytes=IMAGE_BYTES, files={"/etc/owner": "acme\n"})
    return path


RUNS: Mapping[str, Callable[[], str]] = {
    "pulumi-python": lambda: pulumi("minimal"),
    "pulumi-yaml": pulumi_yaml,
    "terraform": terraform,
}


def with_transcript(text: str, name: str, transcript: str) -> str:
    """The text with the block that follows ``<!-- transcript: name -->`` replaced."""
    block = re.compile(rf"(<!-- transcript: {name} -->\n\n```)[^`]*(```)", re.DOTALL)
    changed, count = block.subn(lambda found: f"{found[1]}\n{transcript}\n{found[2]}", text)
    if count != 1:
        raise SystemExit(f"the README has {count} places for the transcript {name}")
    return changed


def main() -> int:
    names = sys.argv[1:] or list(RUNS)
    for name in names:
        README.write_text(with_transcript(README.read_text(), name, RUNS[name]()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
