"""Bringing what is there under Terraform: by id, by name, by command, by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.site import CUSTOMER, Master, Site
from tests.terraform.configurations import server
from tests.terraform.conftest import MakeProject
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]


@pytest.fixture(scope="module")
def found(engine_site: Site) -> Iterator[dict[str, str]]:
    """One of each, made by somebody else; each type's id."""
    master: Master = engine_site.image(system_user=CUSTOMER)
    pool = engine_site.pool(master, fabric="local", max_replicas=5)
    spec = pb.ServerSpec(name="imported", labels={"rack": "r1"})
    request = pb.CreateServerRequest(spec=spec, request_token="t")
    made = engine_site.call("CreateServer", request)
    attachment = engine_site.attach(pool, server="imported")
    yield {
        "clonepool_master_image": master.message.id,
        "clonepool_replica_pool": attachment.pool_id,
        "clonepool_server": made.id,
        "clonepool_server_storage_attachment": attachment.id,
    }
    engine_site.release(attachment)


@pytest.mark.generated_config
def test_a_block_imports_with_a_generated_configuration_and_nothing_to_change(
    project: TerraformProject, found: dict[str, str]
) -> None:
    """Nothing is left to edit: every value is the engine's, and none excludes another."""
    project.init(
        "".join(
            f'import {{\n  to = {type_name}.it\n  id = "{object_id}"\n}}\n'
            for type_name, object_id in found.items()
        )
    )
    project.run("plan", "-generate-config-out=generated.tf")

    done = project.apply()

    assert "4 imported, 0 added, 0 changed, 0 destroyed" in done.said
    project.assert_empty_plan()
    assert found == {
        address.removesuffix(".it"): values["id"] for address, values in project.resources().items()
    }


@pytest.mark.generated_config
def test_an_inline_server_s_attachment_imports_with_a_generated_configuration(
    project: TerraformProject, engine_site: Site, found: dict[str, str]
) -> None:
    """The server stands in it once, as `inline_server`."""
    pool = engine_site.call("GetPool", pb.GetRequest(id=found["clonepool_replica_pool"]))
    spec = pb.AttachmentSpec(
        name="inline", pool=pool.spec.name, inline_server=pb.ServerSpec(name="inline-1")
    )
    request = pb.CreateAttachmentRequest(spec=spec, request_token="t")
    attachment = engine_site.call("CreateAttachment", request)
    to = "clonepool_server_storage_attachment.it"
    project.init(f'import {{\n  to = {to}\n  id = "{attachment.id}"\n}}\n')
    project.run("plan", "-generate-config-out=generated.tf")

    assert "1 imported, 0 added, 0 changed" in project.apply().said
    project.assert_empty_plan()
    assert "inline-1" == project.resources()[to]["server_name"]
    project.destroy()


def test_the_command_imports_by_name_too(project: TerraformProject, found: dict[str, str]) -> None:
    project.init(server("imported", more='labels = { rack = "r1" }'))

    project.run("import", "clonepool_server.server", "imported")

    project.assert_empty_plan()
    assert found["clonepool_server"] == project.resources()["clonepool_server.server"]["id"]


def test_importing_what_is_not_there_says_so(project: TerraformProject) -> None:
    project.init(server("nobody"))

    refused = project.run("import", "clonepool_server.server", "nobody", expect=1)

    assert "Importing server failed" in refused.said
    assert "nobody" in refused.said


def test_creating_what_somebody_else_made_is_refused_with_the_import_command(
    make_project: MakeProject, found: dict[str, str], tmp_path: Path
) -> None:
    """A provider never adopts what it did not create; the command that it names works."""
    project = make_project("other")
    project.init(server("imported", more='labels = { rack = "r1" }'))

    refused = project.apply(expect=1)
    command = f"terraform import clonepool_server.NAME {found['clonepool_server']}"
    assert command in refused.said
    assert {} == project.resources()

    project.run(*command.replace("NAME", "server").split()[1:])
    project.assert_empty_plan()
