"""Make schema.json, the package's description for every Pulumi language, from the declaration.

``--check`` compares with the committed file instead of writing it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pulumi_clonepool_plugin.schema import package_schema

SCHEMA = Path(__file__).resolve().parents[1] / "schema.json"


def main() -> int:
    made = json.dumps(package_schema(), indent=2) + "\n"
    if "--check" not in sys.argv:
        SCHEMA.write_text(made)
        return 0
    if SCHEMA.exists() and SCHEMA.read_text() == made:
        return 0
    sys.stderr.write("schema.json is stale; run tools/generate_schema.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
