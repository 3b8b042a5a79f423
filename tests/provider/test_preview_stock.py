"""What the dynamic classes say of stock in a preview: the real command line, a real engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.engine_process import site
from tests.support.pulumi_project import PulumiProject
from tests.support.site import CUSTOMER, Site

__all__ = ["site"]

pytestmark = [pytest.mark.pulumi, pytest.mark.slow]

MakeProject = Callable[..., PulumiProject]
AWAY = "unix:///nowhere/engine.sock"
ATTACHMENTS = """
import pulumi_clonepool as clonepool

for number in range(COUNT):
    clonepool.ServerStorageAttachment(
        f"a{number}", pool="POOL", inline_server={"name": f"POOL-{number}"}
    )
"""
IMAGE_AND_POOL = """
import pulumi_clonepool as clonepool

image = clonepool.MasterImage("base", writable={"source": "IMAGE", "size": "16MiB"})
clonepool.ReplicaPool("base", master_image=image, fabric="local", min_ready=2, wait_for_ready=2)
"""
SWITCHED_OFF = {"CLONEPOOL_PREVIEW_STOCK": "off"}


def attachments(pool: str, *, count: int) -> str:
    return ATTACHMENTS.replace("POOL", pool).replace("COUNT", str(count))


@pytest.fixture
def pool(site: Site) -> str:
    master = site.image(system_user=CUSTOMER)
    return site.pool(master, min_ready=2, max_replicas=2, fabric="local")


def test_a_pool_s_stock_is_said_in_the_preview_and_in_nothing_else(
    make_project: MakeProject, site: Site, pool: str
) -> None:
    """Once however many attachments; the update has no such line, a second up neither."""
    project = make_project(attachments(pool, count=2), endpoint=site.engine.endpoint)

    preview = project.run("preview")
    assert [f"pool {pool}: ready 2 of 2 now"] == preview.diagnostics
    assert "+ 3 to create" in preview.text

    assert f"pool {pool}" not in project.run("up", "--skip-preview").text
    again = project.run("up").text
    assert (False, True) == (f"pool {pool}" in again, "3 unchanged" in again)

    project.write(attachments(pool, count=3))
    short = project.run("preview")
    said = f"warning: pool {pool}: ready 0 of 2 now; an attachment would wait"
    assert [said] == short.diagnostics
    assert "+ 1 to create" in short.text
    project.run("destroy", "--skip-preview")


def test_a_changed_image_says_what_was_made_of_it(make_project: MakeProject, site: Site) -> None:
    program = IMAGE_AND_POOL.replace("IMAGE", str(site.image().writable))
    project = make_project(program, endpoint=site.engine.endpoint)
    # nothing is there yet, so nothing is to be said of it
    assert [] == project.run("up").diagnostics

    project.write(program.replace("16MiB", "24MiB"))
    said = "master image trial-test-base: version 1 in 1 pool: ready 2, allocated 0, released 0 now"
    assert [said] == project.run("preview").diagnostics
    project.run("destroy", "--skip-preview")


def test_an_engine_that_is_away_is_one_line_and_no_failure(make_project: MakeProject) -> None:
    project = make_project(attachments("web", count=5), endpoint=AWAY)

    away = project.run("preview")
    assert "+ 6 to create" in away.text
    (said,) = away.diagnostics
    assert said.startswith(f"nothing is known of stock: no engine answers at {AWAY}; start it")


def test_a_name_that_the_program_keeps_secret_is_not_shown(
    make_project: MakeProject, site: Site, pool: str
) -> None:
    program = attachments(pool, count=1).replace(f'pool="{pool}"', "pool=HIDDEN")
    hidden = f'import pulumi\nHIDDEN = pulumi.Output.secret("{pool}")\n'
    project = make_project(hidden + program, endpoint=site.engine.endpoint)

    assert [] == project.run("preview").diagnostics


def test_a_switch_and_a_key_that_mean_nothing_are_warned_of_once(
    make_project: MakeProject, site: Site, pool: str
) -> None:
    program = attachments(pool, count=2)
    endpoint = site.engine.endpoint
    project = make_project(program, endpoint=endpoint, CLONEPOOL_PREVIEW_STOCK="maybe")
    project.run("config", "set", "clonepool:endpont", "tcp://a:1")

    assert [
        f"pool {pool}: ready 2 of 2 now",
        (
            "warning: CLONEPOOL_PREVIEW_STOCK: 'maybe' is neither on nor off; "
            "`off` keeps stock out of previews"
        ),
        "warning: clonepool:endpont is no setting; did you mean clonepool:endpoint?",
    ] == sorted(project.run("preview").diagnostics)


def test_it_can_be_switched_off(make_project: MakeProject) -> None:
    project = make_project(attachments("web", count=1), endpoint=AWAY, **SWITCHED_OFF)

    assert [] == project.run("preview").diagnostics
