"""Make schema.json, the package's description for every Pulumi language, from the declaration.

The plugin answers with the same when it is asked for its schema, so the examples go with it as
pulumi_clonepool_plugin/examples.json. ``--check`` compares with the committed files instead of
writing them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pulumi_clonepool_plugin.schema import EXAMPLES, package_schema

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools import pulumi_examples  # noqa: E402 - run as a script, its folder is the path

SCHEMA = ROOT / "schema.json"


def as_json(made: Any) -> str:
    return json.dumps(made, indent=2) + "\n"


def main() -> int:
    examples = pulumi_examples.by_token()
    made = {EXAMPLES: as_json(examples), SCHEMA: as_json(package_schema(examples=examples))}
    if "--check" not in sys.argv:
        for path, text in made.items():
            path.write_text(text)
        return 0
    stale = [p.name for p, text in made.items() if not p.exists() or p.read_text() != text]
    if not stale:
        return 0
    sys.stderr.write(f"{' and '.join(stale)}: stale; run tools/generate_schema.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
