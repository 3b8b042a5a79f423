"""tools/check_sizes.py finds what is too long, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_sizes import FILE_LINES, FUNCTION_LINES, complaints, files


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def function(lines: int, *, docstring: str = "") -> str:
    body = ["    pass"] * (lines - 1)
    return "\n".join(["def long():", *([docstring] if docstring else []), *body, ""])


@pytest.mark.parametrize(("over", "expected"), [(0, 0), (1, 1)])
def test_a_file_above_the_limit_is_named(tmp_path: Path, over: int, expected: int) -> None:
    path = write(tmp_path / "a.py", "x = 1\n" * (FILE_LINES + over))
    assert expected == len(list(complaints(path)))


@pytest.mark.parametrize(("over", "expected"), [(0, 0), (1, 1)])
def test_a_function_above_the_limit_is_named(tmp_path: Path, over: int, expected: int) -> None:
    path = write(tmp_path / "a.py", function(FUNCTION_LINES + over))
    found = list(complaints(path))
    assert expected == len(found)
    assert all("long has 41 lines" in line for line in found)


def test_a_docstring_does_not_count(tmp_path: Path) -> None:
    text = '    """One.\n\n    Two.\n    """'
    path = write(tmp_path / "a.py", function(FUNCTION_LINES, docstring=text))
    assert [] == list(complaints(path))


def test_generated_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "engine/clonepool/api/v1/engine_pb2.py", "")
    kept = write(tmp_path / "engine/clonepool/api/client.py", "")
    assert [kept] == list(files(tmp_path))
