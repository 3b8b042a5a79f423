"""Make the Terraform pages (the registry's layout) from what the provider shows and its examples.

``--check`` compares with the committed pages instead of writing them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# run by its path, Python looks for modules beside this file only
sys.path.insert(0, str(ROOT))

from clonepool_resources.types import Field, ListOf, MapOf, ObjectType  # noqa: E402
from terraform_clonepool.attributes import (  # noqa: E402
    CHAP_SECRET,
    DATA_SOURCES,
    PROVIDER,
    RESOURCES,
)
from terraform_clonepool.proto import tfplugin6_pb2 as pb  # noqa: E402
from terraform_clonepool.schema import cty_type, schema  # noqa: E402
from tools.doc_pages import GeneratedPages, document, shown  # noqa: E402

EXAMPLES = ROOT / "examples/terraform"
TOOL = "generate_terraform_docs.py"
INTRODUCTION = """\
Clonepool gives a server its storage in milliseconds: replicas of a master image are cloned ahead of
time, one is handed to each server, and what a server gives back is scrubbed before anyone else can
have it.

`pip install "clonepool[terraform]"`, then `clonepool terraform install`: after it a plain
`terraform init` (or `tofu init`) finds the provider. [How it differs from the Pulumi
provider](differences.md).

A plan warns where a pool has nothing ready for an attachment that is to be made;
`CLONEPOOL_PREVIEW_STOCK=off` in the environment keeps that out."""
SECTIONS = (
    ("Required", lambda each: each.required),
    ("Optional", lambda each: each.optional),
    ("Read-only", lambda each: not each.required and not each.optional),
)


def pages() -> Iterator[tuple[str, str]]:
    """Each page's path under docs/terraform, and its text."""
    yield "index.md", page("Clonepool provider", INTRODUCTION, "provider/provider.tf", PROVIDER)
    for managed in RESOURCES:
        folder = f"resources/{managed.type_name}"
        text = page(
            f"{managed.type_name} (resource)",
            managed.shown.description,
            f"{folder}/resource.tf",
            managed.shown.fields,
            importing(folder),
        )
        yield _path("resources", managed.type_name), text
    for kind, lookups in (("data-source", DATA_SOURCES), ("ephemeral-resource", (CHAP_SECRET,))):
        for lookup in lookups:
            title = f"{lookup.type_name} ({kind.replace('-', ' ')})"
            example = f"{kind}s/{lookup.type_name}/{kind}.tf"
            yield (
                _path(f"{kind}s", lookup.type_name),
                page(title, lookup.description, example, lookup.fields),
            )


def page(title: str, description: str, example: str, fields: Iterable[Field], *more: str) -> str:
    """One page."""
    block = schema(fields, description).block
    types = {field.name: field for field in fields}
    parts = [
        description,
        f"## Example\n\n{shown(EXAMPLES / example, 'terraform')}",
        f"## Schema\n\n{attributes(block.attributes, types)}",
        *nested(block.attributes, types, path=""),
        *more,
    ]
    return document(tool=TOOL, head={"page_title": title}, title=title, parts=parts)


def attributes(found: Iterable[pb.Schema.Attribute], types: Mapping[str, Field]) -> str:
    """The attributes of one object, by who sets them."""
    listed = tuple(found)
    parts = []
    for title, belongs in SECTIONS:
        lines = [_line(each, types[each.name]) for each in listed if belongs(each)]
        if lines:
            parts.append(f"### {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def nested(
    found: Iterable[pb.Schema.Attribute], types: Mapping[str, Field], *, path: str
) -> Iterator[str]:
    """A section for each object inside."""
    for each in found:
        if not each.HasField("nested_type"):
            continue
        where, inside = f"{path}{each.name}", _fields_of(types[each.name])
        shown = attributes(each.nested_type.attributes, inside).replace("### ", "**")
        lines = [f"{line}**" if line.startswith("**") else line for line in shown.splitlines()]
        yield f"### Nested: `{where}`\n\n" + "\n".join(lines)
        yield from nested(each.nested_type.attributes, inside, path=f"{where}.")


def importing(folder: str) -> str:
    """How to bring what is there under Terraform."""
    block = shown(EXAMPLES / folder / "import.tf", "terraform")
    command = shown(EXAMPLES / folder / "import.sh", "sh")
    return (
        "## Import\n\nBy a block, for which `terraform plan -generate-config-out=FILE` writes the "
        f"configuration:\n\n{block}\n\nOr by the command:\n\n{command}"
    )


def _line(each: pb.Schema.Attribute, field: Field) -> str:
    words = [_type_word(field)]
    words += ["sensitive"] if each.sensitive else []
    words += ["write-only"] if each.write_only else []
    return f"- `{each.name}` ({', '.join(words)}) {each.description}"


def _type_word(field: Field) -> str:
    if isinstance(field.type, ObjectType):
        return "object"
    if isinstance(field.type, ListOf):
        inner = field.type.item
        return "list of objects" if isinstance(inner, ObjectType) else f"list of {cty_type(inner)}s"
    return "map of strings" if isinstance(field.type, MapOf) else str(cty_type(field.type))


def _fields_of(field: Field) -> Mapping[str, Field]:
    inner = field.type.item if isinstance(field.type, ListOf) else field.type
    return {each.name: each for each in inner.fields} if isinstance(inner, ObjectType) else {}


def _path(folder: str, type_name: str) -> str:
    return f"{folder}/{type_name.removeprefix('clonepool_')}.md"


def main() -> int:
    made = dict(pages())
    return GeneratedPages(folder=ROOT / "docs/terraform", tool=TOOL, pages=made).main()


if __name__ == "__main__":
    sys.exit(main())
