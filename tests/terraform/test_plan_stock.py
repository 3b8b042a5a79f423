"""What a plan says of stock: a warning where it is short, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import CUSTOMER, Site
from tests.terraform.configurations import image, pool
from tests.terraform.conftest import MakeProject
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

AWAY = "unix:///nowhere/engine.sock"
ATTACHMENTS = """
resource "clonepool_server_storage_attachment" "each" {
  count         = COUNT
  name          = "POOL-${count.index}"
  pool          = "POOL"
  inline_server = { name = "POOL-${count.index}" }
}
"""


def attachments(pool: str, *, count: int) -> str:
    return ATTACHMENTS.replace("POOL", pool).replace("COUNT", str(count))


def test_a_plan_warns_once_of_a_pool_that_has_nothing_ready(
    project: TerraformProject, engine_site: Site
) -> None:
    """A pool with stock has no line; neither has an empty plan after the apply."""
    master = engine_site.image(system_user=CUSTOMER)
    name = engine_site.pool(master, min_ready=2, max_replicas=2, fabric="local")
    project.init(attachments(name, count=2))

    assert "Warning" not in project.run("plan").said
    assert "Warning" not in project.apply().said
    again = project.run("plan", "-detailed-exitcode")
    assert "Warning" not in again.said

    project.write(attachments(name, count=4))
    short = project.run("plan").said
    assert 1 == short.count("Warning:")
    assert f"Warning: pool {name}: ready 0 of 2 now" in short
    assert "an attachment would wait." in short
    assert "pool = " in short
    assert "Plan: 2 to add, 0 to change, 0 to destroy." in short
    project.write(attachments(name, count=2))
    project.destroy()


def test_what_a_plan_makes_itself_is_no_reason_to_warn(
    project: TerraformProject, source: Path
) -> None:
    """An apply plans each resource again, once the pool is there and has nothing ready yet."""
    made = image("fresh", source) + pool("fresh", stock=0)
    many = attachments("fresh", count=3).replace('"fresh"', "clonepool_replica_pool.pool.name")
    project.init(made + many)

    assert "Warning" not in project.apply().said
    project.destroy()


def test_an_engine_that_is_away_is_one_warning_and_no_failure(make_project: MakeProject) -> None:
    project = make_project(endpoint=AWAY)
    project.init(attachments("web", count=5))

    away = project.run("plan").said
    assert 1 == away.count("Warning:")
    assert "Warning: nothing is known of stock" in away
    assert f"no engine answers at {AWAY}; start it with `clonepool serve`" in away
    assert "Plan: 5 to add" in away


def test_a_switch_that_means_nothing_is_one_warning(make_project: MakeProject) -> None:
    project = make_project(endpoint=AWAY, CLONEPOOL_PREVIEW_STOCK="maybe")
    project.init(attachments("web", count=2))

    told = project.run("plan").said
    assert 1 == told.count("Warning: CLONEPOOL_PREVIEW_STOCK: 'maybe' is neither on nor off")
    assert "Plan: 2 to add" in told


def test_it_can_be_switched_off(make_project: MakeProject) -> None:
    project = make_project(endpoint=AWAY, CLONEPOOL_PREVIEW_STOCK="off")
    project.init(attachments("web", count=1))

    assert "Warning" not in project.run("plan").said
