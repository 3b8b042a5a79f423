"""What generated documentation has in common: front matter, files shown as code, kept or compared.

An example is always a whole file under examples/ that a test runs; no page has a copy by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def fenced(text: str, language: str) -> str:
    """Text as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def shown(file: Path, language: str) -> str:
    """A whole file as a block of code."""
    return fenced(file.read_text(), language)


def document(
    *, tool: str, head: Mapping[str, str | bool], title: str = "", parts: Iterable[str] = ()
) -> str:
    """One page: its front matter, who made it, and its parts with an empty line between them."""
    # a value of JSON is one of YAML, whatever it holds
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items())
    front = "\n".join(["---", *lines, "---"])
    begun = [f"{front}\n{_made_by(tool)}", *([f"# {title}"] if title else [])]
    return "\n\n".join([*begun, *(part.strip("\n") for part in parts)]) + "\n"


@dataclass(frozen=True, kw_only=True)
class GeneratedPages:
    """Pages under a folder, by path, that one tool makes; what others wrote there is left alone."""

    folder: Path
    tool: str
    pages: Mapping[str, str]

    def main(self) -> int:
        """Write them, or with ``--check`` compare with what is committed; gives the exit code."""
        if "--check" not in sys.argv:
            self.write()
            return 0
        stale = self.stale()
        if stale:
            sys.stderr.write(f"stale: {', '.join(stale)}; run tools/{self.tool}\n")
        return 1 if stale else 0

    def write(self) -> None:
        """Put all in place, and remove what is no longer made."""
        for path in self._leftovers():
            (self.folder / path).unlink()
        for path, text in self.pages.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)

    def stale(self) -> list[str]:
        """The paths that differ from what would be made."""
        changed = [
            path
            for path, text in self.pages.items()
            if not (self.folder / path).exists() or (self.folder / path).read_text() != text
        ]
        return [*changed, *self._leftovers()]

    def _leftovers(self) -> list[str]:
        there = sorted(self.folder.rglob("*.md"))
        made = [path for path in there if _made_by(self.tool) in path.read_text()]
        paths = [path.relative_to(self.folder).as_posix() for path in made]
        return [path for path in paths if path not in self.pages]


def _made_by(tool: str) -> str:
    return f"<!-- Made by tools/{tool}; do not edit. -->"
