"""What goes wrong: nothing that was made is forgotten, nothing that waits is orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.engine_process import OpenSite
from tests.support.http_source import StalledSource
from tests.support.site import Site
from tests.support.waiting import wait_for
from tests.terraform.configurations import attachment, image, pool, server
from tests.terraform.conftest import MakeProject
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

IMAGE = "clonepool_master_image.image"
POOL = "clonepool_replica_pool.pool"


@contextmanager
def applying(project: TerraformProject) -> Iterator[subprocess.Popen[str]]:
    """An apply in a process group of its own, as a shell starts it."""
    process = subprocess.Popen(
        project.argv("apply", "-auto-approve"),
        cwd=project.folder,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def press_ctrl_c(process: subprocess.Popen[str]) -> str:
    """As a terminal does: the signal goes to the whole group, the provider included."""
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    return " ".join(said.replace("│", " ").split())


def tainted(project: TerraformProject) -> dict[str, bool]:
    """What is in the state, and whether the next apply makes it again."""
    root = project.show().get("values", {}).get("root_module", {})
    return {each["address"]: each.get("tainted", False) for each in root.get("resources", [])}


def test_a_creation_that_takes_too_long_is_kept_tainted_and_made_again(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    with StalledSource(content=source.read_bytes()) as stalled:
        project.init(image("slow", stalled.url, more='timeouts = { create = "1s" }'))
        refused = project.apply(expect=1)
        assert "master image slow is not finished" in refused.said
        assert "terraform untaint" in refused.said
        assert {IMAGE: True} == tainted(project)
    first = project.resources()[IMAGE]["id"]

    project.write(image("slow", source))
    assert {IMAGE: ["delete", "create"]} == project.changes()
    project.apply("plan")

    assert first != project.resources()[IMAGE]["id"]
    project.destroy()


def test_what_turned_out_well_after_all_is_kept_by_untaint(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    with StalledSource(content=source.read_bytes()) as stalled:
        plain = image("late", stalled.url)
        project.init(image("late", stalled.url, more='timeouts = { create = "1s" }'))
        project.apply(expect=1)
        stalled.go_on()
        get = pb.GetRequest(name="late")
        wait_for(
            lambda: engine_site.call("GetImage", get).HasField("current"), what="the import's end"
        )
        project.run("untaint", IMAGE)
        project.write(plain)
        assert {IMAGE: ["update"]} == project.changes()  # its timeouts are gone
        project.apply("plan")

        assert 1 == project.resources()[IMAGE]["version"]
        project.assert_empty_plan()
        project.destroy()


def test_a_first_import_that_failed_leaves_nothing(
    project: TerraformProject, engine_site: Site, tmp_path: Path
) -> None:
    project.init(image("broken", tmp_path / "missing.img"))

    refused = project.apply(expect=1)

    assert "Creating master image broken failed" in refused.said
    assert "missing.img" in refused.said
    assert {} == project.resources()
    found = engine_site.call("ListImages", pb.ListRequest(name_prefix="broken")).images
    assert [] == list(found)


def test_a_server_that_waits_in_vain_leaves_the_queue(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    scarce = image("scarce", source) + pool("scarce", more="max_replicas = 1")
    project.init(
        scarce
        + attachment("scarce-1", label="first")
        + attachment(
            "scarce-2",
            label="second",
            more='timeouts = { create = "1s" }\n'
            "depends_on = [clonepool_server_storage_attachment.first]",
        )
    )

    refused = project.apply(expect=1)

    assert "attachment scarce-2 has no storage after 1s" in refused.said
    assert "max_replicas" in refused.said
    assert "clonepool_server_storage_attachment.second" not in project.resources()
    found = engine_site.call("ListAttachments", pb.ListRequest(name_prefix="scarce")).attachments
    assert ["scarce-1"] == [each.spec.name for each in found]
    project.destroy()


def test_ctrl_c_in_an_import_ends_the_wait_and_keeps_track(
    project: TerraformProject, source: Path
) -> None:
    with StalledSource(content=source.read_bytes()) as stalled:
        project.init(image("cut", stalled.url))
        with applying(project) as process:
            stalled.wait_until_asked()
            said = press_ctrl_c(process)

        assert "master image cut is not finished" in said
        assert "the import goes on in the engine, so run it again" in said
        assert {IMAGE: True} == tainted(project)
        project.destroy()


def test_ctrl_c_in_the_queue_leaves_no_orphan(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    project.init(
        image("queue", source)
        + pool("queue", more="max_replicas = 1")
        + attachment("queue-1", label="first")
    )
    project.apply()
    project.write(attachment("queue-2", label="second"), name="second.tf")

    with applying(project) as process:
        waiting = pb.GetRequest(name="queue")
        wait_for(lambda: engine_site.call("GetPool", waiting).counts.waiting == 1, what="the queue")
        said = press_ctrl_c(process)

    assert "Creating attachment queue-2 failed" in said
    assert "stopped waiting; its place in the queue is given back, so run it again" in said
    assert "clonepool_server_storage_attachment.second" not in project.resources()
    found = engine_site.call("ListAttachments", pb.ListRequest(name_prefix="queue")).attachments
    assert ["queue-1"] == [each.spec.name for each in found]
    (project.folder / "second.tf").unlink()
    project.destroy()


def test_an_engine_that_is_away_is_said_and_costs_nothing(
    make_project: MakeProject, open_site: OpenSite
) -> None:
    site = open_site()
    project = make_project(endpoint=site.engine.endpoint)
    project.init(server("away"))
    project.apply()
    before = project.resources()

    site.engine.stop()
    refused = project.apply(expect=1)
    assert "no engine answers at" in refused.said
    assert before == project.resources()

    site.engine.start()
    project.assert_empty_plan()
    project.destroy()


def test_an_engine_that_restarts_in_mid_apply_is_waited_for(
    make_project: MakeProject, open_site: OpenSite, source: Path
) -> None:
    site = open_site()
    project = make_project(endpoint=site.engine.endpoint)
    with StalledSource(content=source.read_bytes()) as stalled:
        project.init(image("restarted", stalled.url))
        with applying(project) as process:
            stalled.wait_until_asked()
            site.engine.kill()
            site.engine.start()
            stalled.go_on()
            said, _ = process.communicate(timeout=60)

    assert "1 added" in said, said
    project.assert_empty_plan()
    project.destroy()
