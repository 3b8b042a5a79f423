"""Make the gRPC stubs of engine.proto; ``--check`` compares them with the committed ones."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "engine/clonepool/api/v1"
NAMES = ("engine_pb2.py", "engine_pb2.pyi", "engine_pb2_grpc.py", "engine_pb2_grpc.pyi")
HEADER = '"""Generated from engine.proto by tools/generate_stubs.py; do not edit."""\n'


def generate(out: Path) -> None:
    """Write the stubs into ``out``; they import each other as clonepool.api.v1."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "clonepool/api/v1"
        package.mkdir(parents=True)
        source = package / "engine.proto"
        source.write_bytes((ROOT / "engine/clonepool/api/engine.proto").read_bytes())
        kinds = {"python": "", "grpc_python": "", "mypy": "quiet:", "mypy_grpc": "quiet:"}
        outputs = [f"--{kind}_out={option}{scratch}" for kind, option in kinds.items()]
        # protoc finds its mypy plugins on PATH: the environment's own come first
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{scratch}", *outputs, str(source)],
            check=True,
            env={**os.environ, "PATH": path},
        )
        out.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            (out / name).write_bytes((package / name).read_bytes())
        (out / "__init__.py").write_text(HEADER)


def main() -> int:
    if "--check" not in sys.argv:
        generate(OUT)
        return 0
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        stale = [n for n in NAMES if not filecmp.cmp(OUT / n, Path(fresh) / n, shallow=False)]
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run tools/generate_stubs.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
