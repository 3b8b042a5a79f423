"""Make the Pulumi pages (the registry's layout) from schema.json's content and the examples.

``--check`` compares with the committed pages instead of writing them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# run by its path, Python looks for modules beside this file only
sys.path.insert(0, str(ROOT))

from pulumi_clonepool_plugin.schema import package_schema  # noqa: E402
from tools import pulumi_examples, pulumi_pages  # noqa: E402
from tools.doc_pages import GeneratedPages, document, shown  # noqa: E402
from tools.pulumi_properties import listed, supporting_types  # noqa: E402

TOOL = "generate_pulumi_docs.py"
API = "api-docs"
Schema = Mapping[str, Any]


def pages(schema: Schema) -> Iterator[tuple[str, str]]:
    """Each page's path under docs/pulumi, and its text."""
    yield "_index.md", _page(pulumi_pages.OVERVIEW, pulumi_pages.overview(schema))
    yield (
        "installation-configuration.md",
        _page(pulumi_pages.INSTALLATION, pulumi_pages.installation(schema)),
    )
    yield f"{API}/_index.md", _page(_head("clonepool", "package"), _contents(schema))
    yield f"{API}/provider/_index.md", _page(_head("clonepool.Provider"), _provider(schema))
    for token, folder in pulumi_examples.folders():
        name = _name(token)
        if token in schema["resources"]:
            head = _head(f"clonepool.{name}", "resource")
            parts = _resource(name, schema["resources"][token], schema, folder)
        else:
            head = _head(f"clonepool.{name}", "function")
            parts = _function(name, schema["functions"][token], schema, folder)
        yield f"{API}/{name.lower()}/_index.md", _page(head, parts)


def _page(head: Mapping[str, str | bool], parts: Iterable[str]) -> str:
    # the registry shows the title of the front matter, a reader of the file the heading
    return document(tool=TOOL, head=head, title=str(head["title"]), parts=parts)


def _head(title: str, what: str = "resource") -> Mapping[str, str | bool]:
    told = f"Documentation for the {title} {what} with examples, properties and supporting types."
    return {
        "title": title,
        "title_tag": title,
        "meta_desc": told,
        "layout": "api",
        "no_edit_this_page": True,
    }


def _resource(name: str, said: Schema, schema: Schema, folder: Path) -> Iterator[str]:
    yield _text(said)
    yield from _programs(folder)
    inputs, outputs = said["inputProperties"], said["properties"]
    yield f"## Inputs\n\n{_spelling(inputs)}"
    yield from listed(inputs, required=said["requiredInputs"], schema=schema)
    made = {key: value for key, value in outputs.items() if key not in inputs}
    # what may be given and is made where it is not
    filled_in = pulumi_pages.FILLED_IN.get(name, ())
    made |= {key: {**outputs[key], "willReplaceOnChanges": False} for key in filled_in}
    identity = {"id": {"type": "string", "description": "The id of this incarnation (UUID)."}}
    yield "## Outputs\n\nAll inputs are outputs too. Besides:"
    yield from listed({**identity, **made}, schema=schema)
    yield f"## Timeouts\n\n{pulumi_pages.timeouts(name)}"
    yield _looking_up(name)
    yield pulumi_examples.importing(folder)
    yield from supporting_types({**inputs, **made}, schema=schema)


def _function(name: str, said: Schema, schema: Schema, folder: Path) -> Iterator[str]:
    yield _text(said)
    yield pulumi_pages.two_forms(name)
    yield from _programs(folder)
    inputs, outputs = said["inputs"]["properties"], said["outputs"]["properties"]
    yield f"## Inputs\n\n{_spelling(outputs)}"
    yield from listed(inputs, required=said["inputs"]["required"], schema=schema)
    yield f"## {name} Result"
    yield from listed(outputs, schema=schema)
    yield from supporting_types(outputs, schema=schema)


def _provider(schema: Schema) -> Iterator[str]:
    yield f"{schema['provider']['description']} {pulumi_pages.DEFAULT_PROVIDER}"
    yield "## Inputs"
    yield from listed(schema["provider"]["inputProperties"], schema=schema)


def _contents(schema: Schema) -> Iterator[str]:
    yield schema["description"]
    for kind in ("resources", "functions"):
        names = [_name(token) for token in schema[kind]]
        names += ["Provider"] if kind == "resources" else []
        lines = "\n".join(f"- [{name}]({name.lower()}/_index.md)" for name in names)
        yield f"## {kind.capitalize()}\n\n{lines}"


def _programs(folder: Path) -> Iterator[str]:
    yield f"## Example Usage\n\n{pulumi_examples.title(folder)}."
    for language in (*pulumi_examples.LANGUAGES, pulumi_examples.IN_PROCESS):
        yield f"### {language.title}\n\n{shown(folder / language.file, language.word)}"


def _text(said: Schema) -> str:
    return str(said["description"].partition("\n\n{{% examples %}}")[0])


def _spelling(properties: Mapping[str, Any]) -> str:
    name = next((key for key in properties if not key.islower()), "minReady")
    python = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return (
        f"Names are those of TypeScript and YAML, such as `{name}`; Python writes `{python}`, Go "
        f"`{name[0].upper()}{name[1:]}`."
    )


def _looking_up(name: str) -> str:
    return (
        f"## Look up an existing {name}\n\nThe generated SDKs have `{name}.get` (in Go "
        f"`Get{name}`), which takes the resource's name in the program and the id of one that is "
        "there, and manages nothing."
    )


def _name(token: str) -> str:
    return token.rsplit(":", 1)[-1]


def main() -> int:
    made = dict(pages(package_schema(examples=pulumi_examples.by_token())))
    return GeneratedPages(folder=ROOT / "docs/pulumi", tool=TOOL, pages=made).main()


if __name__ == "__main__":
    sys.exit(main())
