"""SDKs generated from schema.json, made usable as their languages want them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import clonepool
from tools import pulumi_cli, pulumi_extras

ROOT = Path(__file__).resolve().parents[2]
GO_MODULES = pulumi_cli.MODULES / "sdk-go"


def run(argv: list[str], *, cwd: Path) -> None:
    """Run a compiler; a test fails with all that it said."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, f"{' '.join(argv)}:\n{done.stdout}{done.stderr}"


def python_sdk(out: Path) -> Path:
    """A folder for PYTHONPATH, as an installation without its build back end would fill it."""
    pulumi_extras.generate_sdk("python", schema=ROOT / "schema.json", out=out)
    described = out / f"clonepool_sdk-{clonepool.__version__}.dist-info"
    described.mkdir()
    # the SDK asks for its own version
    lines = ["Metadata-Version: 2.1", "Name: clonepool_sdk", f"Version: {clonepool.__version__}"]
    (described / "METADATA").write_text("\n".join([*lines, ""]))
    return out


def go_sdk(out: Path) -> Path:
    """A Go module, with its dependencies pinned, that holds the SDK."""
    pulumi_extras.generate_sdk("go", schema=ROOT / "schema.json", out=out / "go")
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(GO_MODULES / name, out / name)
    return out


def typescript_sdk(out: Path, *, node_modules: Path) -> Path:
    """Compile the SDK; gives a ``node_modules`` that has it beside what it needs."""
    source, installed = out / "source", out / "node_modules"
    pulumi_extras.generate_sdk("nodejs", schema=ROOT / "schema.json", out=source)
    (source / "node_modules").symlink_to(node_modules)
    run([str(node_modules / ".bin/tsc")], cwd=source)
    # as Pulumi's own providers are published: what was compiled, with the package's description
    shutil.copyfile(source / "package.json", source / "bin/package.json")
    installed.mkdir()
    for package in node_modules.iterdir():
        (installed / package.name).symlink_to(package)
    shutil.copytree(source / "bin", installed / "clonepool-sdk")
    return installed


def search_path(*folders: Path) -> str:
    """A PYTHONPATH that adds to this process's own."""
    return os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
