"""What `clonepool forecast terraform` says of a real plan is what the real apply then does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import IMAGE_BYTES, Site
from tests.support.waiting import wait_for
from tests.terraform.configurations import attachment, image, pool
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

NAME = "foretold"


def configuration(source: Path, *servers: str) -> str:
    parts = [
        image(NAME, source),
        pool(NAME, stock=2, more="wait_for_ready = 2\n  scrub = { threshold = 2 }"),
    ]
    names = [attachment(f"{NAME}-{each}", label=each) for each in servers]
    return "".join([*parts, *names])


def forecast(project: TerraformProject, site: Site) -> dict[str, Any]:
    """Of the present configuration's plan."""
    plan = json.dumps(project.plan())
    done = subprocess.run(
        [Path(sys.executable).parent / "clonepool", "forecast", "terraform", "-", "--format=json"],
        input=plan,
        env={"CLONEPOOL_ENDPOINT": site.engine.endpoint, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    answer: dict[str, Any] = json.loads(done.stdout)["forecast"]
    assert [] == answer["failures"]
    return answer


def test_the_apply_does_what_was_forecast(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    project.init(configuration(source, "one", "two"))
    first = forecast(project, engine_site)
    assert ["warm", "warm"] == [each["outcome"] for each in first["attachments"]]
    project.apply()
    assert {True} == {each.warm for each in engine_site.attachments() if NAME in each.spec.name}

    project.write(configuration(source, "three"))
    # the plan is made on a stock that is filled again
    engine_site.wait_for_counts(NAME, ready=2, allocated=2)
    (said,) = forecast(project, engine_site)["pools"]
    project.apply()

    (run,) = wait_for(lambda: _ended(engine_site), what="the scrub to end")
    assert (2, 2) == (said["scrubbed"], said["scrubbed_at_least"])
    # how many of them are needed again depends on how far the refill is by then
    assert said["scrubbed"] == said["recycled"] + said["destroyed"] == run.volumes
    assert run.volumes == run.recycled + run.destroyed
    assert said["scrubbed_bytes"] == 2 * IMAGE_BYTES
    after = said["after"]
    engine_site.wait_for_counts(
        NAME, ready=after["ready"], allocated=after["allocated"], released=after["released"]
    )
    project.destroy()


def _ended(site: Site) -> list[Any]:
    return [run for run in site.runs(NAME) if run.state == "done"]
