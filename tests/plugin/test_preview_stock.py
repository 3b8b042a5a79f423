"""What the plugin says of stock in a preview: the real command line, a real engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.plugin_project import YamlProject
from tests.support.site import CUSTOMER, Site

pytestmark = [pytest.mark.pulumi, pytest.mark.pulumi_yaml, pytest.mark.slow]

MakeYaml = Callable[..., YamlProject]
AWAY = "unix:///nowhere/engine.sock"
ONE = """  a%s:
    type: clonepool:ServerStorageAttachment
    properties: {name: POOL-%s, pool: POOL, inlineServer: {name: POOL-%s}}
"""
IMAGE_AND_POOL = """
resources:
  image:
    type: clonepool:MasterImage
    properties: {name: NAME, writable: {source: IMAGE, size: 16MiB}, labels: {team: web}}
  pool:
    type: clonepool:ReplicaPool
    properties:
      {name: NAME, masterImage: "${image.name}", fabric: local, minReady: 2, waitForReady: 2}
"""


def attachments(pool: str, *, count: int) -> str:
    each = "".join(ONE.replace("%s", str(number)) for number in range(count))
    return f"resources:\n{each}".replace("POOL", pool)


def test_a_pool_s_stock_is_said_in_the_preview_and_in_nothing_else(
    make_yaml: MakeYaml, site: Site
) -> None:
    """Once however many attachments; the update has no such line, a second up neither."""
    master = site.image(system_user=CUSTOMER)
    pool = site.pool(master, min_ready=2, max_replicas=2, fabric="local")
    project = make_yaml(attachments(pool, count=2), endpoint=site.engine.endpoint)

    preview = project.run("preview")
    assert [f"pool {pool}: ready 2 of 2 now"] == preview.diagnostics
    assert "+ 3 to create" in preview.text

    assert [] == project.run("up", "--skip-preview").diagnostics
    again = project.run("up")
    assert ([], True) == (again.diagnostics, "3 unchanged" in again.text)

    project.write(attachments(pool, count=3))
    said = f"warning: pool {pool}: ready 0 of 2 now; an attachment would wait"
    assert [said] == project.run("preview").diagnostics
    site.change_pool(pool, when_empty="fail")
    failing = (
        f"warning: pool {pool}: ready 0 of 2 now; an attachment would fail (whenEmpty is fail)"
    )
    assert [failing] == project.run("preview").diagnostics
    project.run("destroy", "--skip-preview")


def test_a_change_of_pool_or_image_says_what_hangs_on_it(make_yaml: MakeYaml, site: Site) -> None:
    """Other labels have nothing to do with stock."""
    name = site.new_name("changed")
    source = str(site.image().writable)
    program = IMAGE_AND_POOL.replace("NAME", name).replace("IMAGE", source)
    project = make_yaml(program, endpoint=site.engine.endpoint)
    # nothing is there yet, so nothing is to be said of it
    assert [] == project.run("up").diagnostics
    held = "ready 2, allocated 0, released 0 now"

    project.write(program.replace("team: web", "team: shop"))
    assert [] == project.run("preview").diagnostics
    project.write(program.replace("16MiB", "24MiB"))
    assert [f"master image {name}: version 1 in 1 pool: {held}"] == (
        project.run("preview").diagnostics
    )
    project.write(program.replace("fabric: local,", "fabric: local, maxReplicas: 9,"))
    assert [f"pool {name}: {held}"] == project.run("preview").diagnostics
    project.write(program.replace("fabric: local,", ""))
    assert [f"pool {name}: {held}"] == project.run("preview").diagnostics
    project.write(program)
    project.run("destroy", "--skip-preview")


def test_an_engine_that_is_away_is_one_line_and_no_failure(make_yaml: MakeYaml) -> None:
    project = make_yaml(attachments("web", count=5), endpoint=AWAY)

    away = project.run("preview")
    assert "+ 6 to create" in away.text
    (said,) = away.diagnostics
    assert said.startswith(f"nothing is known of stock: no engine answers at {AWAY}; start it")


def test_a_switch_and_a_key_that_mean_nothing_are_warned_of_once(
    make_yaml: MakeYaml, site: Site
) -> None:
    pool = site.pool(site.image(system_user=CUSTOMER), min_ready=2, max_replicas=2, fabric="local")
    switch = {"CLONEPOOL_PREVIEW_STOCK": "maybe"}
    project = make_yaml(attachments(pool, count=2), endpoint=site.engine.endpoint, **switch)
    project.run("config", "set", "clonepool:endpont", "tcp://a:1")

    assert [
        f"pool {pool}: ready 2 of 2 now",
        (
            "warning: CLONEPOOL_PREVIEW_STOCK: 'maybe' is neither on nor off; "
            "`off` keeps stock out of previews"
        ),
        "warning: clonepool:endpont is no setting; did you mean clonepool:endpoint?",
    ] == sorted(project.run("preview").diagnostics)


def test_it_can_be_switched_off(make_yaml: MakeYaml) -> None:
    switch = {"CLONEPOOL_PREVIEW_STOCK": "off"}
    project = make_yaml(attachments("web", count=1), endpoint=AWAY, **switch)

    assert [] == project.run("preview").diagnostics
