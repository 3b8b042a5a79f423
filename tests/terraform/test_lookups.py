"""Data sources: what is there now, by name or by id."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.site import Site
from tests.terraform.configurations import attachment, image, pool
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

BY_ID = """
data "clonepool_image" "it" {
  id = clonepool_master_image.image.id
}
data "clonepool_pool" "it" {
  id = clonepool_replica_pool.pool.id
}
data "clonepool_attachment" "it" {
  id = clonepool_server_storage_attachment.attachment.id
}
output "image" {
  value = data.clonepool_image.it
}
output "pool" {
  value = data.clonepool_pool.it
}
output "attachment" {
  value = data.clonepool_attachment.it
}
"""


def test_what_the_same_configuration_makes_is_looked_up_by_its_id(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    project.init(image("seen", source) + pool("seen") + attachment("seen") + BY_ID)
    project.apply()

    seen = project.outputs()
    state = project.resources()
    made = state["clonepool_server_storage_attachment.attachment"]
    assert ("seen", 1, "ready") == (
        seen["image"]["name"],
        seen["image"]["version"],
        seen["image"]["latest_state"],
    )
    assert state["clonepool_master_image.image"]["digests"] == seen["image"]["digests"]
    assert ("seen", 1, "local") == (
        seen["pool"]["master_image"],
        seen["pool"]["image_version"],
        seen["pool"]["fabric"],
    )
    assert (
        "attached",
        made["volume"],
        made["connection"],
        {"name": "acme", "kind": "customer"},
    ) == (
        seen["attachment"]["state"],
        seen["attachment"]["volume"],
        seen["attachment"]["connection"],
        seen["attachment"]["system_user"],
    )
    project.destroy()


def test_what_others_made_is_looked_up_by_its_name(
    project: TerraformProject, engine_site: Site
) -> None:
    master = engine_site.image()
    name = engine_site.pool(master, fabric="local", min_ready=2)
    project.init(
        f'data "clonepool_pool" "it" {{\n  name = "{name}"\n}}\n'
        'output "ready" {\n  value = data.clonepool_pool.it.ready\n}\n'
        'output "id" {\n  value = data.clonepool_pool.it.id\n}\n'
    )
    project.apply()

    assert {"ready": 2, "id": engine_site.call("GetPool", pb.GetRequest(name=name)).id} == (
        project.outputs()
    )


def test_a_name_that_is_not_there_fails_the_plan(project: TerraformProject) -> None:
    project.init('data "clonepool_pool" "it" {\n  name = "nowhere"\n}\n')

    refused = project.run("plan", expect=1)

    assert "Looking up pool nowhere failed" in refused.said


@pytest.mark.parametrize("given", ["", 'name = "a"\n  id = "b"'])
def test_exactly_one_of_id_and_name_is_given(project: TerraformProject, given: str) -> None:
    project.init(f'data "clonepool_pool" "it" {{\n  {given}\n}}\n')

    refused = project.run("validate", expect=1)

    assert "give exactly one of id and name" in refused.said
