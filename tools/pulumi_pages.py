"""What the Pulumi pages say beside what the schema says of each property."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clonepool.units import format_duration
from clonepool_resources.lifecycle import DEFAULT_TIMEOUT_S
from clonepool_resources.server_lifecycle import DEFAULT_ATTACHMENT_TIMEOUT
from tools.doc_pages import ROOT, shown
from tools.pulumi_properties import listed

EXAMPLES = ROOT / "examples"
# inputs that the engine sets where a program does not
FILLED_IN = {"ServerStorageAttachment": ("server",)}

OVERVIEW = {
    "title": "Clonepool",
    "meta_desc": (
        "Server storage in milliseconds: replicas cloned ahead of time, attached to servers, and "
        "scrubbed when they come back."
    ),
    "layout": "package",
}
INSTALLATION = {
    "title": "Clonepool Installation & Configuration",
    "meta_desc": "How to install Clonepool's Pulumi package, and how it finds its engine.",
    "layout": "package",
}
DEFAULT_PROVIDER = (
    "A stack needs none: the default provider takes `clonepool:endpoint` and its neighbours from "
    "the stack's configuration. Declare one where a program speaks to two engines."
)
_ENVIRONMENT = """\
Some settings are the environment's alone:

- `CLONEPOOL_CLIENT_CERT`, `CLONEPOOL_CLIENT_KEY`: a client certificate's file, and its key's.
- `CLONEPOOL_CREATE_TIMEOUT`: how long an import or the filling of a pool may take, such as `2h`; \
{limit} by default.
- `CLONEPOOL_PREVIEW_STOCK`: `off` keeps lines on stock out of previews."""


def overview(schema: Mapping[str, Any]) -> Iterator[str]:
    """The package's front page."""
    yield (
        "Clonepool gives a server its storage in milliseconds: replicas of a master image are "
        "cloned ahead of time, one is handed to each server, and what a server gives back is "
        "scrubbed before anyone else can have it."
    )
    resources = ", ".join(f"`{token.rsplit(':', 1)[-1]}`" for token in schema["resources"])
    functions = ", ".join(f"`{token.rsplit(':', 1)[-1]}`" for token in schema["functions"])
    yield (
        f"Resources: {resources}. Functions: {functions}. [All of them](api-docs/_index.md), and "
        "[how to install and configure the package](installation-configuration.md)."
    )
    yield (
        "There are two ways to use them. The **plugin** `pulumi-resource-clonepool` serves every "
        "Pulumi language through generated SDKs, and YAML; it can import, keeps what is half made, "
        "and Ctrl-C takes back what waits. The **classes of `pulumi_clonepool`** are for Python "
        "alone, run inside Pulumi's own Python provider, and take a resource wherever a name is "
        "asked for. A name that is left out is made by Pulumi's autonaming with the plugin, of "
        "project, stack and logical name with the classes. `clonepool migrate pulumi` turns a "
        "stack of the classes into one of the plugin."
    )
    yield "## Example\n\nOne master image, a pool of its replicas, and a server that gets one."
    for title, file, word in (
        ("YAML", "pulumi-yaml/Pulumi.yaml", "yaml"),
        ("TypeScript", "pulumi-typescript/index.ts", "typescript"),
        ("Go", "pulumi-go/main.go", "go"),
        ("Python, with the classes of `pulumi_clonepool`", "minimal/__main__.py", "python"),
    ):
        yield f"### {title}\n\n{shown(EXAMPLES / file, word)}"
    yield _PREVIEWS


_PREVIEWS = """\
## What a preview says of stock

Where an attachment would be made, a preview says once for each pool what is ready at that moment, \
beside the resource: `pool web: ready 7 of 10 now`. It is a warning where nothing is ready. Before \
a pool or an image is changed or replaced, it says what the pool holds, or what was made of the \
image. These lines are in no diff, and an update has none of them. Without an engine there is one \
line, and the preview goes on.

A hook sees one resource: what a whole plan does to stock is what \
[`clonepool forecast`](../forecast.md) says. The classes of `pulumi_clonepool` say nothing of a \
changed pool: a program can't tell it from one that stays."""


def installation(schema: Mapping[str, Any]) -> Iterator[str]:
    """How to get it, and how it finds its engine."""
    yield (
        "## Installation\n\n"
        "```sh\npip install clonepool\n```\n\n"
        "This puts the plugin, `pulumi-resource-clonepool`, on the `PATH` of that environment, "
        "where Pulumi finds it, and the classes of `pulumi_clonepool` beside it. A YAML program "
        "needs no more."
    )
    languages = schema["language"]
    yield (
        "SDKs are generated from the plugin, in the folder of a program:\n\n"
        '```sh\npulumi package add "$(command -v pulumi-resource-clonepool)"\n```\n\n'
        "This needs a Pulumi installation whose language host can generate packages; one that "
        "can't answers `method GeneratePackage not implemented`. Clonepool's tests run Pulumi's "
        "generators themselves, not this command.\n\n"
        f"- Node.js (TypeScript): `{languages['nodejs']['packageName']}`\n"
        f"- Python: `{languages['python']['packageName']}`\n"
        f"- Go: `{languages['go']['importBasePath']}`"
    )
    yield (
        "## Configuration\n\nOn the engine's own machine, and as its user, nothing is needed. "
        "Elsewhere:\n\n"
        "```sh\npulumi config set clonepool:endpoint tcp://storage1.example:7443\n"
        "pulumi config set --secret clonepool:token\n```"
    )
    variables = schema["config"]["variables"]
    yield from listed({f"clonepool:{name}": said for name, said in variables.items()}, schema={})
    yield _ENVIRONMENT.format(limit=format_duration(DEFAULT_TIMEOUT_S))


def timeouts(resource: str) -> str:
    """How long each operation of a resource may take, and where that is said."""
    long = format_duration(DEFAULT_TIMEOUT_S)
    if resource in ("MasterImage", "ReplicaPool"):
        work = {
            "MasterImage": "Creation and a change of content wait for the import",
            "ReplicaPool": "Creation waits until `waitForReady` replicas are ready",
        }[resource]
        return (
            f"{work}, for {long} unless the option `customTimeouts` says otherwise (the classes of "
            "`pulumi_clonepool`: `CLONEPOOL_CREATE_TIMEOUT`). What takes longer goes on in the "
            "engine, and the next `pulumi up` finds it."
        )
    if resource == "ServerStorageAttachment":
        return (
            "Creation waits in the pool's queue, deletion for the end of the server's sessions, "
            f"each for {DEFAULT_ATTACHMENT_TIMEOUT} unless the option `customTimeouts` or the "
            "input `timeouts` says otherwise; the option goes first. The classes of "
            "`pulumi_clonepool` know the input alone. Whose time is up leaves the queue."
        )
    return "Nothing is waited for."


def two_forms(function: str) -> str:
    """How a function is called."""
    python = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in function)
    return (
        f"It asks the engine at once, in a preview too. `{function}Output` (Python: "
        f"`{python}_output`) takes outputs: with the id of a resource of the same program it waits "
        "in the preview that creates the resource."
    )
