"""The same provider and configurations under OpenTofu, whichever of both the other tests used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.site import Site
from tests.terraform.configurations import attachment, image, pool, server
from tests.terraform.conftest import MakeProject
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.tofu, pytest.mark.slow]

POOL = "clonepool_replica_pool.pool"
ATTACHMENT = "clonepool_server_storage_attachment.attachment"
SECRET = """
ephemeral "clonepool_chap_secret" "web" {
  id = clonepool_server_storage_attachment.attachment.id
}
"""


@pytest.fixture
def opentofu(make_project: MakeProject, tofu: str) -> TerraformProject:
    return dataclasses.replace(make_project(), terraform=tofu)


def test_it_is_made_left_alone_changed_replaced_and_unmade(
    opentofu: TerraformProject, engine_site: Site, source: Path
) -> None:
    base = image("tofu", source)
    opentofu.init(base + pool("tofu", stock=2) + attachment("tofu") + SECRET)
    assert "OpenTofu" in opentofu.run("version").stdout
    opentofu.apply()
    opentofu.assert_empty_plan()
    made = opentofu.resources()[ATTACHMENT]

    opentofu.write(base + pool("tofu", stock=3) + attachment("tofu", server="other"))
    assert {POOL: ["update"], ATTACHMENT: ["delete", "create"]} == opentofu.changes()
    opentofu.apply("plan")
    replaced = opentofu.resources()[ATTACHMENT]
    assert "other" == replaced["server_name"]
    assert made["volume"] != replaced["volume"]

    opentofu.destroy()
    assert [] == list(engine_site.call("ListPools", pb.ListRequest(name_prefix="tofu")).pools)


def test_what_is_there_is_imported_with_a_generated_configuration(
    opentofu: TerraformProject, engine_site: Site
) -> None:
    spec = pb.ServerSpec(name="tofu-there", labels={"rack": "r1"})
    engine_site.call("CreateServer", pb.CreateServerRequest(spec=spec, request_token="t"))
    opentofu.init('import {\n  to = clonepool_server.there\n  id = "tofu-there"\n}\n')

    opentofu.run("plan", "-generate-config-out=generated.tf", "-out=plan")
    opentofu.apply("plan")

    assert {"rack": "r1"} == opentofu.resources()["clonepool_server.there"]["labels"]
    opentofu.assert_empty_plan()
    opentofu.destroy()


def test_an_error_has_the_line_that_caused_it(opentofu: TerraformProject) -> None:
    opentofu.init(server("No Name"))

    refused = opentofu.run("validate", expect=1)

    assert "a name: 1 to 63 characters" in refused.said
    assert 'on main.tf line 3, in resource "clonepool_server" "server"' in refused.said
