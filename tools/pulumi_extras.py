#!/usr/bin/env python3
"""Build what tests need beside Pulumi's command line: its hosts, the SDK maker, OpenTofu.

``python -m tools.pulumi_extras yaml nodejs gensdk tofu`` prints the folder of what was built,
from the pinned modules, into the cache of tools/pulumi_cli.py; a second run takes no time. Exit
code 3 where there is no `go`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools import pulumi_cli
from tools.pulumi_cli import Failed, GoCommand


@dataclass(frozen=True, kw_only=True)
class LocalCommand(GoCommand):
    """A command of our own, built anew when its source changes too."""

    def digest(self) -> str:
        source = (pulumi_cli.MODULES / self.module / "main.go").read_bytes()
        return hashlib.sha256(super().digest().encode() + source).hexdigest()


EXTRAS = {
    "yaml": GoCommand(
        name="pulumi-language-yaml",
        module="language-yaml",
        package="github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml",
    ),
    "nodejs": GoCommand(
        name="pulumi-language-nodejs",
        module="language-nodejs",
        package="github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs",
    ),
    "tofu": GoCommand(
        name="tofu",
        module="opentofu",
        package="github.com/opentofu/opentofu/cmd/tofu",
    ),
    # `module` is below tools/gomodules
    "gensdk": LocalCommand(name="gensdk", module="../gensdk", package="."),
}


def folder() -> Path:
    """Where they are, once built."""
    return pulumi_cli.cache_folder() / "bin"


def is_built(name: str) -> bool:
    """Whether it is there, of the pinned modules."""
    return pulumi_cli.is_built(EXTRAS[name])


def ensure(names: Iterable[str]) -> Path:
    """Build what is missing. Raises Failed."""
    missing = [name for name in names if not is_built(name)]
    if missing and shutil.which("go") is None:
        raise Failed(f"{', '.join(missing)}: no `go` to build from modules with")
    if missing:
        with (
            pulumi_cli.locked(),
            tempfile.TemporaryDirectory(prefix="build-", dir=pulumi_cli.cache_folder()) as scratch,
        ):
            for name in missing:
                if not is_built(name):
                    pulumi_cli.build(EXTRAS[name], scratch=Path(scratch))
    return folder()


def generate_sdk(language: str, *, schema: Path, out: Path) -> None:
    """Write the SDK of a schema.json in one language: python, nodejs or go. Raises Failed."""
    argv = [str(ensure(["gensdk"]) / "gensdk"), str(schema), language, str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"gensdk {language}: {done.stderr.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(EXTRAS))
    asked = parser.parse_args()
    try:
        print(ensure(asked.names))
    except Failed as error:
        pulumi_cli.say(str(error))
        return pulumi_cli.EXIT_NONE
    return 0


if __name__ == "__main__":
    sys.exit(main())
