"""`python -m clonepool.cli.docs` prints docs/cli.md, made of the commands' own help."""

from __future__ import annotations

import sys
from typing import Final

from clonepool.cli.app import build

_HEADING: Final = """\
# The command line

Made by `python -m clonepool.cli.docs > docs/cli.md`; do not edit.

Every command takes `--endpoint unix:///path` or `--endpoint tcp://host:port`; without it
`CLONEPOOL_ENDPOINT` says where the engine is, and without that it is the one of the same user.
Several nodes of one engine are separated by commas: one that is away or shuts down is passed over.
See [configuration](configuration.md).

Reads take `--json`: the API's own field names, every field present, null for what is absent, sizes
in bytes, times in ISO 8601. Without it they print for people: aligned text, a table on a terminal.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed: one line on stderr says what, its state and the way out (`doctor`: something fails) |
| 2 | the command line, a setting or a request is wrong as written |
| 3 | no engine answers |
| 4 | `forecast --fail-on`: the forecast was made and printed, and holds what was named |
| 130 | interrupted by Ctrl-C |
| 141 | whoever read the output has gone |

`image create`, `pool create`, `server create` and `attach` may be repeated: with the same arguments
they find what they made before, with others they fail.

"""


def document() -> str:
    """The page as Markdown."""
    made: str = build(whole=True).generate_docs(
        output_format="markdown", heading_level=2, usage_name="clonepool"
    )
    lines = [line.rstrip() for line in made.splitlines()]
    return _HEADING + "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    # cyclopts takes the program's name in usage lines from here
    sys.argv[0] = "clonepool"
    print(document(), end="")
