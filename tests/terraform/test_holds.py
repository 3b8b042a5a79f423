"""Terraform's apply is served by a ticket: of the provider block, or of the environment."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support import holds
from tests.support.site import CUSTOMER, Site
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]


def stocked(site: Site, *, ready: int) -> str:
    """A pool that never refills."""
    master = site.image(system_user=CUSTOMER)
    return site.pool(master, fabric="local", min_ready=ready, max_replicas=ready)


def attachments(pool: str, *names: str, ticket: str = "") -> str:
    block = f'provider "clonepool" {{\n  hold = "{ticket}"\n}}\n' if ticket else ""
    return block + "".join(
        f"""
resource "clonepool_server_storage_attachment" "{name}" {{
  name          = "{pool}-{name}"
  pool          = "{pool}"
  inline_server = {{ name = "{pool}-{name}" }}
}}
"""
        for name in names
    )


def test_an_apply_takes_what_its_forecast_has_held(
    project: TerraformProject, engine_site: Site
) -> None:
    pool = stocked(engine_site, ready=4)
    project.init(attachments(pool, "one", "two"))
    said = holds.forecast(engine_site, "terraform", project.plan(), "--hold", "10m")
    assert [True, True] == [each["held"] for each in said["forecast"]["attachments"]]
    ticket = said["hold"]["id"]

    # others take all that is not held
    others = [engine_site.attach(pool) for _ in range(3)]
    assert ["attached", "attached", "waiting"] == [each.state for each in others]
    again = holds.forecast(engine_site, "terraform", project.plan(), CLONEPOOL_HOLD=ticket)
    assert ["warm", "warm"] == [each["outcome"] for each in again["forecast"]["attachments"]]
    variables = {**project.variables, "CLONEPOOL_HOLD": ticket}
    dataclasses.replace(project, variables=variables).apply("plan")

    assert {True} == {values["warm"] for values in project.resources().values()}
    assert {pool: 0} == holds.left(engine_site, ticket)
    project.destroy()


def test_the_provider_block_names_a_ticket_and_one_of_no_use_is_warned_of(
    project: TerraformProject, engine_site: Site
) -> None:
    pool = stocked(engine_site, ready=2)
    ticket = holds.hold(engine_site, pool, 1)
    project.init(attachments(pool, "one", ticket=ticket))
    project.apply()
    assert {pool: 0} == holds.left(engine_site, ticket)
    project.assert_empty_plan()

    project.write(attachments(pool, "one", "two", ticket=ticket))
    done = project.apply()
    assert f"attachment {pool}-two goes on without its ticket" in done.said
    assert f"ticket {ticket} is used up: its 1 of pool {pool} are taken" in done.said
    project.destroy()


def test_a_ticket_that_is_only_known_later_does_not_stop_a_plan(
    project: TerraformProject, engine_site: Site
) -> None:
    pool = stocked(engine_site, ready=2)
    ticket = holds.hold(engine_site, pool, 1)
    late = f"""
resource "terraform_data" "ticket" {{
  input = "{ticket}"
}}

provider "clonepool" {{
  hold = terraform_data.ticket.output
}}

data "clonepool_pool" "pool" {{
  name = "{pool}"
}}

output "held" {{
  value = data.clonepool_pool.pool.held
}}
"""
    project.init(late + attachments(pool, "one"))
    project.plan()
    project.apply("plan")
    assert {"held": 1} == project.outputs()
    assert {pool: 0} == holds.left(engine_site, ticket)
    project.destroy()


def test_what_can_be_no_ticket_is_refused_at_its_attribute(project: TerraformProject) -> None:
    project.init(attachments("web", "one", ticket="x" * 129))
    refused = project.run("plan", expect=1)
    assert "Invalid hold" in refused.said
    assert "at most 128 printable characters" in refused.said
