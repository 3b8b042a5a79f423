"""The real command line over a real engine: made, left alone, changed, replaced, unmade."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.site import Site
from tests.terraform.configurations import attachment, image, pool, server
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

IMAGE = "clonepool_master_image.image"
POOL = "clonepool_replica_pool.pool"
SERVER = "clonepool_server.server"
ATTACHMENT = "clonepool_server_storage_attachment.attachment"


def unknown_after(project: TerraformProject) -> set[str]:
    """What the plan of a change to one resource can't tell."""
    (planned,) = project.plan()["resource_changes"]
    found = planned["change"]["after_unknown"]
    return {name for name, unknown in found.items() if unknown is True}


def test_it_is_made_left_alone_and_unmade(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    """What only the engine can tell is unknown in the plan and there after the apply."""
    project.init(image("life", source) + pool("life") + attachment("life"))

    planned = {each["address"]: each["change"] for each in project.plan()["resource_changes"]}
    assert {"id", "connection", "volume", "warm"} <= set(planned[ATTACHMENT]["after_unknown"])
    project.apply("plan")

    made = project.resources()
    assert (1, "default") == (made[IMAGE]["version"], made[IMAGE]["storage"])
    assert {
        "threshold": 10,
        "method": "reformat",
        "then": "recycle",
        "on_low_space": True,
        "max_age": None,
        "max_bytes": None,
        "on_low_stock": None,
        "verify": "none",
        "undo_window": "0s",
        "windows": None,
        "assurance": "clear",
    } == made[POOL]["scrub"]
    assert ("life-server", True) == (made[ATTACHMENT]["server_name"], made[ATTACHMENT]["warm"])
    (volume,) = made[ATTACHMENT]["connection"]["volumes"]
    assert Path(volume["path"]).exists()
    project.assert_empty_plan()
    project.destroy()
    assert {} == project.resources()
    assert [] == list(engine_site.call("ListPools", pb.ListRequest(name_prefix="life")).pools)


SCRUB = """scrub = {
    max_age      = "7d"
    max_bytes    = "2TiB"
    on_low_stock = 1
    verify       = "full"
    undo_window  = "12h"
    windows      = ["mon-fri 22:00-06:00", "sat,sun 00:00-24:00"]
}"""


def test_a_whole_scrub_policy_and_a_resumed_attachment_are_left_alone(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    """Destroyed at night and there in the morning, with the volume that it had."""
    base = image("nightly", source) + pool("nightly", more=SCRUB)
    project.init(base + attachment("nightly", more="resume_released = true"))
    project.apply()
    before = project.resources()[ATTACHMENT]
    spec = engine_site.call("GetPool", pb.GetRequest(name="nightly")).spec.scrub
    assert (7 * 86400, 2 * 2**40, 1, "full", 12 * 3600) == (
        spec.max_age_s,
        spec.max_bytes,
        spec.on_low_stock,
        spec.verify,
        spec.undo_window_s,
    )
    assert ["mon-fri 22:00-06:00", "sat,sun 00:00-24:00"] == list(spec.windows)
    project.assert_empty_plan()
    project.write(base)
    project.apply()
    project.write(base + attachment("nightly", more="resume_released = true"))
    project.apply()
    after = project.resources()[ATTACHMENT]
    assert before["id"] != after["id"]
    assert before["volume"] == after["volume"]
    project.assert_empty_plan()
    project.destroy()


def test_a_state_of_an_older_version_shows_no_change(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    """What it does not know of the policy and the attachment is at its default."""
    project.init(image("older", source) + pool("older") + attachment("older"))
    project.apply()
    state = json.loads(project.state_text())
    for each in state["resources"]:
        attributes = each["instances"][0]["attributes"]
        attributes.pop("resume_released", None)
        newer = ("max_age", "max_bytes", "verify", "undo_window", "windows", "assurance")
        for name in (*newer, "on_low_stock"):
            attributes.get("scrub", {}).pop(name, None)
    (project.folder / "terraform.tfstate").write_text(json.dumps(state))
    project.assert_empty_plan()
    project.destroy()


def test_a_change_in_place_keeps_the_id_and_removing_a_setting_brings_its_default_back(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    base = image("update", source)
    project.init(base + pool("update", more="scrub = { threshold = 3 }", stock=0))
    project.apply()
    before = project.resources()

    project.write(base + pool("update", more='scrub = { method = "zero" }\nmax_replicas = 7'))
    assert {POOL: ["update"]} == project.changes()
    project.apply("plan")

    after = project.resources()
    assert before[POOL]["id"] == after[POOL]["id"]
    assert (10, "zero", 7) == (
        after[POOL]["scrub"]["threshold"],
        after[POOL]["scrub"]["method"],
        after[POOL]["max_replicas"],
    )
    spec = engine_site.call("GetPool", pb.GetRequest(name="update")).spec
    assert (10, "zero", 7) == (spec.scrub.threshold, spec.scrub.method, spec.max_replicas)
    project.assert_empty_plan()
    project.destroy()


def test_labels_leave_the_version_alone_and_new_content_moves_it(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    project.init(image("content", source, more='labels = { team = "web" }'))
    project.apply()

    project.write(image("content", source, more='labels = { team = "shop" }'))
    assert set() == unknown_after(project)
    project.apply("plan")

    bigger = image("content", source).replace(f'"{source}"', f'"{source}", size = "16MiB"')
    project.write(bigger)
    assert {"version", "digests", "size_bytes"} == unknown_after(project)
    project.apply("plan")
    assert (2, 16 * 2**20) == (
        project.resources()[IMAGE]["version"],
        project.resources()[IMAGE]["size_bytes"]["writable"],
    )
    project.write(bigger.replace("16MiB", "16384KiB"))
    project.assert_empty_plan()
    project.destroy()


def test_what_only_a_new_resource_can_follow_replaces_what_is_there(
    project: TerraformProject, source: Path
) -> None:
    whole = image("old", source) + pool("replaced") + attachment("replaced")
    project.init(whole)
    project.apply()
    before = project.resources()

    project.write(whole.replace('"old"', '"new"'))
    planned = {each["address"]: each["change"] for each in project.plan()["resource_changes"]}
    assert [["name"]] == planned[IMAGE]["replace_paths"]
    assert {IMAGE, POOL} == {
        address for address, change in planned.items() if change["actions"] == ["delete", "create"]
    }
    # the pool's name stays, so Terraform sees no change in the attachment: it holds the pool
    refused = project.apply(expect=1)
    assert "pool replaced has attachments (replaced); release them first" in refused.said
    assert before[ATTACHMENT]["id"] == project.resources()[ATTACHMENT]["id"]

    along = "lifecycle {\n  replace_triggered_by = [clonepool_replica_pool.pool.id]\n}"
    followed = image("new", source) + pool("replaced") + attachment("replaced", more=along)
    project.write(followed)
    assert "3 added, 0 changed, 3 destroyed" in project.apply().said
    assert before[ATTACHMENT]["id"] != project.resources()[ATTACHMENT]["id"]
    project.assert_empty_plan()
    project.destroy()


def test_a_nested_field_that_forces_replacement_is_named_by_its_path(
    project: TerraformProject, source: Path
) -> None:
    project.init(image("nested", source))
    project.apply()

    project.write(image("nested", source).replace('"acme"', '"globex"'))
    (change,) = project.plan()["resource_changes"]

    assert [["system_user", "name"]] == change["change"]["replace_paths"]
    project.destroy()


def test_create_before_destroy_makes_the_new_one_first(
    project: TerraformProject, engine_site: Site
) -> None:
    first = "lifecycle { create_before_destroy = true }"
    project.init(server("cbd-1", more=first))
    project.apply()

    project.write(server("cbd-2", more=first))
    assert {SERVER: ["create", "delete"]} == project.changes()
    project.apply("plan")

    names = [each.spec.name for each in engine_site.call("ListServers", pb.ListRequest()).servers]
    assert ("cbd-2" in names, "cbd-1" in names) == (True, False)
    project.destroy()
