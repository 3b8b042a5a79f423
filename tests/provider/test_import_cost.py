"""A program that declares storage must start fast: nothing of the engine comes with it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = [
    "alembic",
    "clonepool.backends",
    "clonepool.commands",
    "clonepool.config",
    "clonepool.controllers",
    "clonepool.domain",
    "clonepool.engine",
    "clonepool.fabrics",
    "clonepool.service",
    "clonepool.store",
    "cryptography",
    "cyclopts",
    "rich",
    "sqlalchemy",
    "sqlmodel",
]


@pytest.mark.parametrize("used", ["pulumi_clonepool", "clonepool.api.client"])
def test_the_provider_s_side_loads_nothing_of_the_engine(used: str) -> None:
    program = f"import json, sys, {used}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))

    assert [] == [name for name in HEAVY if name in loaded]


def test_a_program_opens_no_client_until_it_asks_something() -> None:
    program = "import sys, pulumi_clonepool; sys.exit('clonepool.api.client' in sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True)
