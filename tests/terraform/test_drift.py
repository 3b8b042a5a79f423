"""What was changed behind Terraform's back, and what asks for attention by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.site import Site
from tests.terraform.configurations import image, pool, server
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]


def test_what_was_changed_outside_is_changed_back(
    project: TerraformProject, engine_site: Site
) -> None:
    project.init(server("drift", more='labels = { rack = "r1" }'))
    project.apply()
    found = engine_site.call("GetServer", pb.GetRequest(name="drift"))
    spec = pb.ServerSpec(name="drift", labels={"rack": "r2", "row": "7"})
    engine_site.call("UpdateServer", pb.UpdateServerRequest(id=found.id, spec=spec))

    plan = project.plan()
    (drift,) = plan["resource_drift"]
    assert {"rack": "r2", "row": "7"} == drift["change"]["after"]["labels"]
    project.apply("plan")

    labels = engine_site.call("GetServer", pb.GetRequest(name="drift")).spec.labels
    assert {"rack": "r1"} == dict(labels)
    project.destroy()


def test_what_was_deleted_outside_is_made_again(
    project: TerraformProject, engine_site: Site
) -> None:
    project.init(server("gone"))
    project.apply()
    before = project.resources()["clonepool_server.server"]["id"]
    engine_site.call("DeleteServer", pb.DeleteRequest(id=before))

    assert {"clonepool_server.server": ["create"]} == project.changes()
    project.apply("plan")

    assert before != project.resources()["clonepool_server.server"]["id"]
    project.destroy()
    # deleted twice: what is gone is no error
    project.destroy()


def test_one_of_the_same_name_is_not_taken_for_it(
    project: TerraformProject, engine_site: Site
) -> None:
    """It goes by id: somebody else's new one of the name is left alone."""
    project.init(server("twin"))
    project.apply()
    before = project.resources()["clonepool_server.server"]["id"]
    engine_site.call("DeleteServer", pb.DeleteRequest(id=before))
    request = pb.CreateServerRequest(spec=pb.ServerSpec(name="twin"), request_token="theirs")
    theirs = engine_site.call("CreateServer", request)

    refused = project.apply(expect=1)

    assert theirs.id in refused.said
    project.destroy()
    assert theirs.id == engine_site.call("GetServer", pb.GetRequest(name="twin")).id
    engine_site.call("DeleteServer", pb.DeleteRequest(id=theirs.id))


def test_a_failed_import_keeps_the_old_version_warns_and_is_tried_again(
    project: TerraformProject, engine_site: Site, source: Path, tmp_path: Path
) -> None:
    later = tmp_path / "later.img"
    project.init(image("failed", source) + pool("failed"))
    project.apply()

    project.write(image("failed", later) + pool("failed"))
    refused = project.apply(expect=1)
    assert "Updating master image failed failed" in refused.said
    warned = project.run("plan")
    assert "master image failed needs attention" in warned.said
    assert "1 to change" in warned.said

    later.write_bytes(source.read_bytes())
    project.apply()
    assert 2 == project.resources()["clonepool_master_image.image"]["version"]
    project.assert_empty_plan()
    project.destroy()
