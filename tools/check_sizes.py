"""Hold every Python file to 450 lines and every function to 40."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("engine", "provider", "tools", "tests", "benchmarks", "examples")
FILE_LINES = 450
FUNCTION_LINES = 40
EXCEPTED = (
    "engine/clonepool/api/v1",  # generated
    "provider/terraform_clonepool/proto",  # generated
    "engine/clonepool/store/migrations/versions",  # history: as long as the tables are wide
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def files(root: Path) -> Iterator[Path]:
    """Every Python file that is held to the limits."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            if not path.relative_to(root).as_posix().startswith(EXCEPTED):
                yield path


def function_lines(function: Function) -> int:
    """Lines from ``def`` to the end. A docstring does not count: nobody should save on it."""
    last = function.end_lineno or function.lineno
    lines = last - function.lineno + 1
    if ast.get_docstring(function) is not None:
        text = function.body[0]
        lines -= (text.end_lineno or text.lineno) - text.lineno + 1
    return lines


def complaints(path: Path) -> Iterator[str]:
    """What is too long in one file, as ``FILE:LINE: why``."""
    source = path.read_text()
    count = len(source.splitlines())
    if count > FILE_LINES:
        yield f"{path}:1: {count} lines; split it by ideas, the limit is {FILE_LINES}"
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, Function) and function_lines(node) > FUNCTION_LINES:
            yield (
                f"{path}:{node.lineno}: {node.name} has {function_lines(node)} lines; "
                f"take steps out of it, the limit is {FUNCTION_LINES}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT)
    found = [line for path in files(parser.parse_args().root) for line in complaints(path)]
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
