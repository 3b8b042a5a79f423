"""What the README shows is what the repository holds."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_program_in_the_readme_is_the_tested_example() -> None:
    program = (ROOT / "examples/minimal/__main__.py").read_text().rstrip()
    assert f"```python\n{program}\n```" in README


def test_every_file_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [] == [link for link in links if not (ROOT / link).exists()]


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README
