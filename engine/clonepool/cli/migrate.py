"""`clonepool migrate`: from one of Clonepool's faces to another."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from clonepool.errors import InvalidArgument

# by name: the engine's side knows no provider
_PLUGIN: Final = "pulumi_clonepool_plugin.migration"
# "-" is a value here, not an option
File = Annotated[str, Parameter(allow_leading_hyphen=True)]


def migrate_pulumi(state: File, /) -> None:
    """Turn an exported stack of the dynamic Python classes into one of the plugin's types.

    Prints it; nothing is changed in the engine, and the next preview of the same infrastructure,
    declared with the plugin's types, is empty:

    pulumi stack export | clonepool migrate pulumi - | pulumi stack import

    Parameters
    ----------
    state
        The file that `pulumi stack export` was written to; - reads standard input.

    """
    migrated = import_module(_PLUGIN).migrate(_read(state))
    print(json.dumps(migrated.state, indent=4))
    if migrated.resources:
        said = f"{migrated.resources} resources are of the plugin's types now"
    else:
        said = "nothing to migrate: no resource of the dynamic classes is in the stack"
    print(said, file=sys.stderr)


def _read(state: str) -> Any:
    text = sys.stdin.read() if state == "-" else Path(state).read_text(encoding="utf-8")
    try:
        read = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{state} is not JSON ({error}); give an exported stack") from None
    if not isinstance(read, dict):
        raise InvalidArgument(f"{state} holds no JSON object; give an exported stack")
    return read
