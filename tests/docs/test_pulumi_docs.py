"""The Pulumi pages are what the schema and the examples are, in the registry's layout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import pulumi_examples

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs/pulumi"
SCHEMA = json.loads((ROOT / "schema.json").read_text())
PAGES = sorted(DOCS.rglob("*.md"))


def page(token: str) -> str:
    return (DOCS / f"api-docs/{token.rsplit(':', 1)[1].lower()}/_index.md").read_text()


def names_in(properties: dict[str, Any]) -> Iterator[str]:
    """Every property that is reached from these."""
    for name, said in properties.items():
        yield name
        inner = said.get("items", said).get("$ref", "").removeprefix("#/types/")
        yield from names_in(SCHEMA["types"].get(inner, {}).get("properties", {}))


def test_the_installation_says_what_generating_an_sdk_needs() -> None:
    said = (DOCS / "installation-configuration.md").read_text()
    _, _, after = said.partition("pulumi package add")
    assert "language host can generate packages" in after.partition("Node.js")[0]


def test_the_pages_are_up_to_date() -> None:
    """Else run tools/generate_pulumi_docs.py."""
    program = [sys.executable, str(ROOT / "tools/generate_pulumi_docs.py"), "--check"]

    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("token", "folder"),
    list(pulumi_examples.folders()),
    ids=lambda each: str(each).rsplit(":", 1)[-1],
)
def test_a_page_has_every_property_and_a_program_in_each_language(token: str, folder: Path) -> None:
    text = page(token)
    described = {**SCHEMA["resources"], **SCHEMA["functions"]}[token]
    parts = [described.get("inputProperties", {}), described.get("properties", {})]
    parts += [described.get(part, {}).get("properties", {}) for part in ("inputs", "outputs")]

    assert [] == [name for part in parts for name in names_in(part) if f"- `{name}` (" not in text]
    for language in (*pulumi_examples.LANGUAGES, pulumi_examples.IN_PROCESS):
        program = (folder / language.file).read_text().rstrip()
        assert f"```{language.word}\n{program}\n```" in text
        if language is not pulumi_examples.IN_PROCESS:
            assert f"```{language.word}\n{program}\n```" in described["description"]


def test_what_replaces_what_is_secret_and_what_is_the_default_is_marked() -> None:
    attachment = page("clonepool:index:ServerStorageAttachment")

    assert re.search(
        r"^- `pool` \(string\) .*\*\*A change replaces the resource\.\*\*$", attachment, re.M
    )
    assert re.search(r"^- `chapSecret` \(string, secret\) ", attachment, re.M)
    assert re.search(r"^- `forceDetach` \(boolean\) .* Default: `false`\.$", attachment, re.M)
    assert '- `"generated"` (`Generated`) ' in attachment
    assert "pulumi import clonepool:index:ServerStorageAttachment web1 web1" in attachment
    assert "`customTimeouts`" in attachment


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_a_page_has_the_registry_s_front_matter_and_its_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    head = yaml.safe_load(text.split("---\n")[1])

    assert {"title", "meta_desc", "layout"} <= head.keys()
    assert ("api" if "api-docs" in path.parts else "package") == head["layout"]
    anchors = {title.lower() for title in re.findall(r"^### (\w+)$", text, re.M)}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link[1:] in anchors if link.startswith("#") else (path.parent / link).exists(), link
