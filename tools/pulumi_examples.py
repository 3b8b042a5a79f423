"""The programs under examples/pulumi: one folder a resource or function, one file a language."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clonepool_resources.declaration import FUNCTIONS, RESOURCES
from pulumi_clonepool_plugin.spelling import camel, token_of
from tools.doc_pages import ROOT, shown

EXAMPLES = ROOT / "examples/pulumi"
DYNAMIC = "dynamic.py"


@dataclass(frozen=True, kw_only=True)
class Language:
    """One way to write a program: its file, the word for its code, and what readers call it."""

    file: str
    word: str
    title: str


LANGUAGES = (
    Language(file="index.ts", word="typescript", title="TypeScript"),
    Language(file="sdk.py", word="python", title="Python, with the generated SDK"),
    Language(file="main.go", word="go", title="Go"),
    Language(file="Pulumi.yaml", word="yaml", title="YAML"),
)
IN_PROCESS = Language(
    file=DYNAMIC, word="python", title="Python, with the classes of `pulumi_clonepool`"
)


def folders() -> Iterator[tuple[str, Path]]:
    """Each token, with the folder of its programs."""
    for resource in RESOURCES:
        yield token_of(resource.name), EXAMPLES / "resources" / resource.name
    for function in FUNCTIONS:
        name = camel(function.name)
        yield token_of(name), EXAMPLES / "functions" / name


def title(folder: Path) -> str:
    """What the programs do, as the Python one says."""
    said = ast.get_docstring(ast.parse((folder / "sdk.py").read_text())) or ""
    return said.splitlines()[0].rstrip(".")


def importing(folder: Path) -> str:
    """How to bring what is there under Pulumi; "" where there is nothing to bring."""
    command = folder / "import.sh"
    return f"## Import\n\n{shown(command, 'sh')}" if command.exists() else ""


def shortcodes(folder: Path) -> str:
    """The programs as a schema's description holds them.

    An SDK's comments keep the program in its own language, the registry shows one at a time.
    """
    programs = "\n\n".join(shown(folder / each.file, each.word) for each in LANGUAGES)
    parts = [
        "{{% examples %}}\n## Example Usage",
        f"{{{{% example %}}}}\n### {title(folder)}",
        f"{programs}\n{{{{% /example %}}}}\n{{{{% /examples %}}}}",
        importing(folder),
    ]
    return "\n\n".join(part for part in parts if part)


def by_token() -> dict[str, str]:
    """What the description of each resource and function says after its text."""
    return {token: shortcodes(folder) for token, folder in folders()}
