"""`clonepool migrate`: from one of Clonepool's faces to another."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Annotated, Final

from cyclopts import Parameter

from clonepool.cli.given_files import named, read_object
from clonepool.errors import InvalidArgument

# by name: the engine's side knows no provider
_PLUGIN: Final = "pulumi_clonepool_plugin.migration"
_EXPORT: Final = "pulumi stack export"
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
    exported = read_object(state, made_by=_EXPORT)
    try:
        migrated = import_module(_PLUGIN).migrate(exported)
    except InvalidArgument as error:
        raise InvalidArgument(f"{named(state)}: {error}", reason=error.reason) from None
    print(json.dumps(migrated.state, indent=4))
    if migrated.resources:
        said = f"{migrated.resources} resources are of the plugin's types now"
    else:
        said = "nothing to migrate: no resource of the dynamic classes is in the stack"
    print(said, file=sys.stderr)
