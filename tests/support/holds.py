"""Tickets of a real engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.site import Site

_PROGRAM = Path(sys.executable).parent / "clonepool"


def hold(site: Site, pool: str, count: int, *, token: str = "") -> str:
    """A ticket for so many of a pool."""
    request = pb.CreateHoldRequest(
        pools=[pb.HeldStock(pool=pool, count=count)],
        duration_s=600,
        request_token=token or site.new_name("hold"),
    )
    made: pb.Hold = site.call("CreateHold", request)
    return made.id


def left(site: Site, ticket: str) -> dict[str, int]:
    """What it still holds, by pool."""
    found: pb.Hold = site.call("GetHold", pb.GetRequest(id=ticket))
    return {stock.pool: stock.remaining for stock in found.pools}


def run(site: Site, *words: str, stdin: str = "", **variables: str) -> str:
    """What `clonepool WORDS` prints; a test fails on any other exit code than 0."""
    done = subprocess.run(
        [_PROGRAM, *words],
        input=stdin,
        env={"CLONEPOOL_ENDPOINT": site.engine.endpoint, "PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def forecast(site: Site, tool: str, plan: Any, *words: str, **variables: str) -> dict[str, Any]:
    """What `clonepool forecast` says of a plan, as JSON."""
    argv = ("forecast", tool, "-", "--format=json", *words)
    answer: dict[str, Any] = json.loads(run(site, *argv, stdin=json.dumps(plan), **variables))
    return answer
