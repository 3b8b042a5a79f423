"""States: an older version's are brought up to date, what is private stays beside them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from clonepool.errors import FailedPrecondition
from terraform_clonepool.attributes import RESOURCES
from terraform_clonepool.resources import ManagedResource
from terraform_clonepool.session import Session
from tests.terraform.configurations import server
from tests.terraform.project import TerraformProject

SERVER = next(managed for managed in RESOURCES if managed.type_name == "clonepool_server")


def test_a_state_two_versions_old_goes_through_both_upgrades() -> None:
    resource = ManagedResource(
        replace(SERVER, version=2),
        Session(),
        upgrades={
            0: lambda old: {**old, "host": old["node"]},
            1: lambda old: {**old, "name": old["host"]},
        },
    )

    upgraded = resource.upgrade({"id": "1", "node": "web1", "labels": {"a": "b"}}, version=0)

    assert {"id": "1", "name": "web1", "initiator": None, "labels": {"a": "b"}} == upgraded


def test_a_version_that_nobody_can_read_is_named() -> None:
    resource = ManagedResource(replace(SERVER, version=2), Session(), upgrades={1: dict})

    with pytest.raises(FailedPrecondition, match="schema version 0"):
        resource.upgrade({}, version=0)


@pytest.mark.terraform
@pytest.mark.slow
def test_a_state_of_another_release_is_read(project: TerraformProject) -> None:
    """What it has too much is dropped, what it lacks is found by the next read."""
    project.init(server("aged", more='labels = { rack = "r1" }'))
    project.apply()
    path = project.folder / "terraform.tfstate"
    state = json.loads(path.read_text())
    (instance,) = state["resources"][0]["instances"]
    del instance["attributes"]["labels"]
    instance["attributes"]["retired"] = "once there"
    instance["private"] = "eyJrZWVwIjogMX0="
    state["serial"] += 1
    path.write_text(json.dumps(state))

    project.assert_empty_plan()
    project.write(server("aged", more='labels = { rack = "r2" }'))
    project.apply()

    (instance,) = json.loads(path.read_text())["resources"][0]["instances"]
    assert {"rack": "r2"} == instance["attributes"]["labels"]
    assert "retired" not in instance["attributes"]
    assert "eyJrZWVwIjogMX0=" == instance["private"]
    project.destroy()
