"""Tickets on a real engine: kill -9, the command line, and `pulumi up` with the dynamic classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support import holds
from tests.support.engine_process import OpenSite
from tests.support.pulumi_project import PulumiProject
from tests.support.site import CUSTOMER, Site

pytestmark = pytest.mark.slow

PROGRAM = """
import pulumi_clonepool as clonepool

for name in NAMES:
    made = clonepool.ServerStorageAttachment(name, pool=POOL, inline_server={"name": f"s-{name}"})
"""
Start = Callable[[Site, str], PulumiProject]


def stocked(site: Site, *, ready: int = 3) -> str:
    """A pool on the local fabric that never refills."""
    master = site.image(system_user=CUSTOMER)
    return site.pool(master, fabric="local", min_ready=ready, max_replicas=ready)


def program(pool: str, *names: str) -> str:
    return PROGRAM.replace("NAMES", repr(names)).replace("POOL", repr(pool))


def attach(site: Site, pool: str, name: str, *, hold: str = "") -> str:
    """The state in which an attachment is after one call."""
    spec = pb.AttachmentSpec(name=name, pool=pool, inline_server=pb.ServerSpec(name=f"s-{name}"))
    request = pb.CreateAttachmentRequest(spec=spec, request_token=name, hold=hold)
    return str(site.call("CreateAttachment", request).state)


@pytest.fixture
def start(tmp_path: Path, pulumi_bin: Path) -> Start:
    def begin(site: Site, text: str) -> PulumiProject:
        project = PulumiProject(
            folder=tmp_path / "pulumi",
            pulumi_bin=pulumi_bin,
            variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
        )
        project.create(text)
        return project

    return begin


def test_a_hold_survives_kill_9_of_the_engine(open_site: OpenSite) -> None:
    site = open_site()
    pool = stocked(site)
    ticket = holds.hold(site, pool, 1)
    assert "attached" == attach(site, pool, "a")
    site.engine.kill()
    site.engine.start()
    assert {pool: 1} == holds.left(site, ticket)
    assert 1 == site.counts(pool).held
    assert ["attached", "waiting"] == [attach(site, pool, name) for name in "bc"]
    assert "attached" == attach(site, pool, "d", hold=ticket)
    site.engine.kill()
    site.engine.start()
    assert {pool: 0} == holds.left(site, ticket)


def test_tickets_on_the_command_line(site: Site) -> None:
    pool = stocked(site)
    made = holds.run(site, "hold", "create", "--pool", pool, "--for", "10m", "--owner", "PR 7")
    ticket = made.rpartition("CLONEPOOL_HOLD=")[2].strip()
    assert f"1 of 1 of {pool}" in made
    assert ticket in holds.run(site, "hold", "list", "--pool", pool)
    name = site.new_name("attachment")
    words = ("--pool", pool, "--server", site.server())
    holds.run(site, "attach", name, *words, CLONEPOOL_HOLD=ticket)
    assert f"0 of 1 of {pool}" in holds.run(site, "hold", "show", ticket)
    holds.run(site, "hold", "release", ticket)
    holds.run(site, "hold", "release", ticket)
    assert ticket not in holds.run(site, "hold", "list")


@pytest.mark.pulumi
def test_an_up_takes_what_its_forecast_has_held(start: Start, site: Site) -> None:
    """From the preview in CI to the up: whoever comes in between does not get it."""
    pool = stocked(site, ready=4)
    project = start(site, program(pool, "one", "two"))
    said = holds.forecast(site, "pulumi", project.read_json("preview"), "--hold", "10m")
    assert [True, True] == [each["held"] for each in said["forecast"]["attachments"]]
    ticket = said["hold"]["id"]

    others = [site.new_name("other") for _ in range(3)]
    assert ["attached", "attached", "waiting"] == [attach(site, pool, name) for name in others]
    again = holds.forecast(site, "pulumi", project.read_json("preview"), CLONEPOOL_HOLD=ticket)
    assert ["warm", "warm"] == [each["outcome"] for each in again["forecast"]["attachments"]]
    with_ticket = dataclasses.replace(
        project, variables={**project.variables, "CLONEPOOL_HOLD": ticket}
    )
    with_ticket.run("up", "--skip-preview")

    mine = [each for each in site.attachments() if each.spec.name.startswith("trial-test-")]
    assert [True, True] == [each.warm for each in mine]
    assert {pool: 0} == holds.left(site, ticket)
    project.run("destroy", "--skip-preview")


@pytest.mark.pulumi
def test_the_stacks_configuration_names_a_ticket_and_one_of_no_use_is_warned_of(
    start: Start, site: Site
) -> None:
    pool = stocked(site, ready=4)
    tickets = [holds.hold(site, pool, 1) for _ in range(2)]
    names = ("first", "second")
    project = start(site, program(pool))
    for number, ticket in enumerate(tickets, 1):
        project.run("config", "set", "clonepool:hold", ticket)
        project.write(program(pool, *names[:number]))
        project.run("up", "--skip-preview")
        assert {pool: 0} == holds.left(site, ticket)

    project.write(program(pool, *names, "third"))
    done = project.run("up", "--skip-preview")
    assert f"ticket {ticket} is used up: its 1 of pool {pool} are taken" in done.text
    assert "+ 1 created" in done.text
    project.run("destroy", "--skip-preview")
