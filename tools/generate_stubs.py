"""Make the stubs of our .proto files; ``--check`` compares them with the committed ones."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Stubs:
    """One .proto file, and the package that its stubs are imported as and lie in."""

    source: Path
    package: str
    folder: Path
    grpc: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        kinds = ("_pb2", "_pb2_grpc") if self.grpc else ("_pb2",)
        return tuple(f"{self.source.stem}{kind}{end}" for kind in kinds for end in (".py", ".pyi"))

    @property
    def header(self) -> str:
        return f'"""Generated from {self.source.name} by tools/generate_stubs.py; do not edit."""\n'


ALL = (
    Stubs(
        source=ROOT / "engine/clonepool/api/engine.proto",
        package="clonepool/api/v1",
        folder=ROOT / "engine/clonepool/api/v1",
    ),
    # served by generic handlers: a provider process starts five times a run, each import counts
    Stubs(
        source=ROOT / "provider/terraform_clonepool/proto/tfplugin6.proto",
        package="terraform_clonepool/proto",
        folder=ROOT / "provider/terraform_clonepool/proto",
        grpc=False,
    ),
)


def generate(stubs: Stubs, out: Path) -> None:
    """Write one file's stubs into ``out``; they import each other by their package."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / stubs.package
        package.mkdir(parents=True)
        source = package / stubs.source.name
        source.write_bytes(stubs.source.read_bytes())
        kinds = {"python": "", "mypy": "quiet:"}
        if stubs.grpc:
            kinds |= {"grpc_python": "", "mypy_grpc": "quiet:"}
        outputs = [f"--{kind}_out={option}{scratch}" for kind, option in kinds.items()]
        # protoc finds its mypy plugins on PATH: the environment's own come first
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{scratch}", *outputs, str(source)],
            check=True,
            env={**os.environ, "PATH": path},
        )
        out.mkdir(parents=True, exist_ok=True)
        for name in stubs.names:
            (out / name).write_bytes((package / name).read_bytes())
        (out / "__init__.py").write_text(stubs.header)


def find_stale(stubs: Stubs) -> list[str]:
    """The committed files that differ from what would be made now."""
    with tempfile.TemporaryDirectory() as fresh:
        generate(stubs, Path(fresh))
        return [
            name
            for name in stubs.names
            if not filecmp.cmp(stubs.folder / name, Path(fresh) / name, shallow=False)
        ]


def main() -> int:
    if "--check" not in sys.argv:
        for stubs in ALL:
            generate(stubs, stubs.folder)
        return 0
    stale = [name for stubs in ALL for name in find_stale(stubs)]
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run tools/generate_stubs.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
