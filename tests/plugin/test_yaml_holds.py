"""A YAML program on the plugin brings a ticket; another ticket is no change of the provider."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.support import holds
from tests.support.plugin_project import YamlProject
from tests.support.site import CUSTOMER, Site

pytestmark = [pytest.mark.pulumi, pytest.mark.pulumi_yaml, pytest.mark.slow]

MakeYaml = Callable[..., YamlProject]


def program(pool: str, *names: str) -> str:
    made = "".join(
        f"""
  {name}:
    type: clonepool:ServerStorageAttachment
    properties: {{pool: {pool}, inlineServer: {{name: yaml-{name}}}}}
"""
        for name in names
    )
    return f"resources:{made}"


def test_an_up_takes_what_is_held(make_yaml: MakeYaml, site: Site) -> None:
    master = site.image(system_user=CUSTOMER)
    pool = site.pool(master, fabric="local", min_ready=4, max_replicas=4)
    project = make_yaml(program(pool, "one"), endpoint=site.engine.endpoint)
    said = holds.forecast(site, "pulumi", project.read_json("preview"), "--hold", "10m")
    first, second = said["hold"]["id"], holds.hold(site, pool, 1)

    project.run("config", "set", "clonepool:hold", first)
    project.run("up", "--skip-preview")
    assert [{pool: 0}, {pool: 1}] == [holds.left(site, each) for each in (first, second)]

    project.run("config", "set", "clonepool:hold", second)
    steps = project.read_json("preview")["steps"]
    assert {"same"} == {step["op"] for step in steps}, steps
    project.write(program(pool, "one", "two"))
    project.run("up", "--skip-preview")
    assert {pool: 0} == holds.left(site, second)

    # and a ticket that is used up is said, and fails nothing
    project.write(program(pool, "one", "two", "three"))
    done = project.run("up", "--skip-preview")
    assert f"ticket {second} is used up: its 1 of pool {pool} are taken" in done.text
    project.run("destroy", "--skip-preview")


def test_the_environment_names_a_ticket(make_yaml: MakeYaml, site: Site) -> None:
    master = site.image(system_user=CUSTOMER)
    pool = site.pool(master, fabric="local", min_ready=2, max_replicas=2)
    ticket = holds.hold(site, pool, 1)
    project = make_yaml(program(pool, "one"), endpoint=site.engine.endpoint)
    variables = {**project.variables, "CLONEPOOL_HOLD": ticket}
    dataclasses.replace(project, variables=variables).run("up", "--skip-preview")
    assert {pool: 0} == holds.left(site, ticket)
    project.run("destroy", "--skip-preview")
