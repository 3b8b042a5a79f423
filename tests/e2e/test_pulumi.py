"""The real Pulumi command line on a real engine, tgtd and initiator: what a user's day is like."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clonepool import commands
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import ChapAccount
from clonepool.testing.initiator import Session
from tests.support.pulumi_project import VENV, PulumiProject, Result
from tests.support.site import RO_LUN, RW_LUN, Master, Site, is_refused, write_marker
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.pulumi, pytest.mark.tgt, pytest.mark.slow]

FLEET = (Path(__file__).parents[2] / "examples/pulumi-python/__main__.py").read_text()
PROGRAM = """
import pulumi
import pulumi_clonepool as clonepool

config = pulumi.Config()
image = clonepool.MasterImage(
    "web",
    system_user={"name": "acme", "kind": "customer"},
    read_only={"source": config.require("base")},
    writable={"source": config.require("image")},
)
pool = clonepool.ReplicaPool("web", master_image=image, min_ready=2, wait_for_ready=2)
for name in ("one", "two"):
    made = clonepool.ServerStorageAttachment(
        name,
        pool=pool,
        inline_server={"name": f"web-{name}", "initiator": f"iqn.2026-01.com.example:{name}"},
    )
    shown = {"connection": made.connection, "username": made.chap_username, "volume": made.volume}
    pulumi.export(name, {**shown, "secret": made.chap_secret, "name": made.name})
pulumi.export("pool", pool.name)
"""

Start = Callable[..., PulumiProject]


@pytest.fixture
def start(
    tmp_path: Path, pulumi_bin: Path, random_plugin: Path, site: Site, master: Master
) -> Start:
    """Lay out a project with a stack of its own name, configured with the master's files."""

    def begin(program: str) -> PulumiProject:
        project = PulumiProject(
            folder=tmp_path / "pulumi",
            pulumi_bin=pulumi_bin,
            stack=site.new_name("stack"),
            plugin_folders=[random_plugin],
            variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
        )
        project.create(program)
        files = {"image": master.writable, "base": master.read_only}
        configure(project, fabric="iscsi", threshold=3, servers=3, **files)
        return project

    return begin


@pytest.fixture(scope="module")
def master(site: Site) -> Master:
    return site.image()


def configure(project: PulumiProject, **settings: object) -> None:
    project.run("config", "set-all", *_words(settings))


def _words(settings: Mapping[str, object]) -> Sequence[str]:
    return [word for name, value in settings.items() for word in ("--plaintext", f"{name}={value}")]


def up(project: PulumiProject, *words: str, expect: int | None = 0) -> Result:
    return project.run("up", "--skip-preview", *words, expect=expect)


def plan(project: PulumiProject, *words: str) -> dict[str, str]:
    """What a preview would do, as a CI job reads it: the step for each resource of ours."""
    document = project.read_json("preview", *words)
    return {
        step["urn"].rpartition("clonepool:")[2]: step["op"]
        for step in document["steps"]
        if "clonepool:" in step["urn"] and step["op"] != "same"
    }


def at_no_engine(project: PulumiProject) -> PulumiProject:
    nowhere = {"CLONEPOOL_ENDPOINT": "unix:///nowhere/engine.sock"}
    return dataclasses.replace(project, variables=nowhere)


def log_in(shown: Mapping[str, Any], initiator: str) -> Session:
    """The server's session, by nothing but what the stack's outputs say."""
    connection = shown["connection"]
    return Session(
        portal=connection["portals"][0],
        target=connection["target"],
        initiator=initiator,
        chap=ChapAccount(username=shown["username"], secret=shown["secret"]),
    )


def attached_to(site: Site, pool: str) -> dict[str, pb.Attachment]:
    """The pool's attachments by their servers, secrets included."""
    found = site.call("ListAttachments", pb.ListRequest(pool=pool)).attachments
    requests = [pb.GetAttachmentRequest(id=each.id, include_secret=True) for each in found]
    answers = [site.call("GetAttachment", request) for request in requests]
    return {each.server_name: each for each in answers}


def session_of(attachment: pb.Attachment) -> Session:
    chap = ChapAccount(username=attachment.chap_username, secret=attachment.chap_secret)
    connection = attachment.connection
    return Session(
        portal=connection.portals[0],
        target=connection.target,
        initiator=f"iqn.2026-01.com.example:{attachment.server_name}",
        chap=chap,
    )


def test_a_fleet_comes_up_and_stays_as_it_is(start: Start, site: Site, master: Master) -> None:
    """Preview (with the engine away, too), up, a second up that changes nothing."""
    project = start(FLEET)
    away = at_no_engine(project).run("preview")
    assert "Traceback" not in away.text
    assert "+ 12 to create" in away.text
    assert {"create"} == set(plan(project).values())
    assert [] == site.attachments()

    up(project)
    outputs = project.outputs()
    assert (1, 3) == (outputs["image_version"], len(outputs["storage"]))
    (pool,) = [found.spec.name for found in site.pools()]
    attached = attached_to(site, pool)
    told = {each["server"]: each["volume"] for each in outputs["storage"].values()}
    assert told == {server: each.volume_id for server, each in attached.items()}
    for each in attached.values():
        with session_of(each) as session:
            assert master.read_only.read_bytes() == session.dump(lun=RO_LUN)
            assert master.writable.read_bytes() == session.dump(lun=RW_LUN)

    again = up(project, "--expect-no-changes").text
    assert "12 unchanged" in again
    assert {} == plan(project)
    assert told == {server: each.volume_id for server, each in attached_to(site, pool).items()}
    project.run("destroy", "--skip-preview")
    wait_for(lambda: not site.volumes(), what="the volumes to be gone")


def test_servers_that_go_have_their_volumes_scrubbed_at_the_threshold(
    start: Start, site: Site, master: Master
) -> None:
    """Fewer servers: released, and min_ready in place; more again; fewer: scrubbed; destroyed."""
    project = start(FLEET)
    up(project)
    (pool,) = [found for found in site.pools() if "fleet" in found.spec.name]
    name = pool.spec.name
    marks = _write_marks(attached_to(site, name))

    configure(project, servers=1)
    planned = plan(project)
    assert 4 == list(planned.values()).count("delete")
    assert "update" == planned["ReplicaPool::fleet"]
    fewer = up(project).text
    assert "~ 1 updated" in fewer
    now = site.call("GetPool", pb.GetRequest(name=name))
    assert (pool.id, 1) == (now.id, now.spec.min_ready)
    assert (2, 0) == (now.counts.released, len(site.runs(name)))

    configure(project, servers=3)
    up(project)
    attached = attached_to(site, name)
    assert 2 == len([each for each in attached.values() if each.volume_id not in marks])
    marks |= _write_marks({s: a for s, a in attached.items() if a.volume_id not in marks})
    configure(project, servers=1)
    up(project)
    wait_for(lambda: _all_done(site, name), what="the scrub")
    # the third release reaches the threshold; the fourth may come in time for that run, or not
    scrubbed = {record.volume_id for record in site.records(name)}
    assert len(scrubbed) in (3, 4)
    assert [] == [
        path for v, mark in marks.items() if v in scrubbed for path in site.files_with(mark)
    ]

    project.run("destroy", "--skip-preview")
    wait_for(lambda: not site.volumes(), what="the volumes to be gone")
    assert [] == [path for mark in marks.values() for path in site.files_with(mark)]


def _all_done(site: Site, pool: str) -> bool:
    runs = site.runs(pool)
    return bool(runs) and all(run.state == "done" for run in runs)


def _write_marks(attached: Mapping[str, pb.Attachment]) -> dict[str, bytes]:
    marks = {}
    for each in attached.values():
        marks[each.volume_id] = secrets.token_hex(32).encode()
        with session_of(each) as session:
            write_marker(session, marks[each.volume_id])
    return marks


def test_drift_is_seen_by_a_refresh_and_mended_by_the_next_up(start: Start, site: Site) -> None:
    """An attachment released and a pool changed behind Pulumi's back."""
    project = start(PROGRAM)
    up(project)
    outputs = project.outputs()
    pool = outputs["pool"]
    clonepool(site, "release", outputs["one"]["name"])
    site.change_pool(pool, min_ready=1, wait_for_ready=1)
    seen = project.run("refresh", "--skip-preview", "--diff").text
    assert "- 1 deleted" in seen
    assert re.search(r"min_ready +: 2 => 1", seen)

    assert {"ServerStorageAttachment::one": "create", "ReplicaPool::web": "update"} == plan(project)
    up(project)
    mended = project.outputs()
    assert outputs["two"] == mended["two"]
    assert outputs["one"]["volume"] != mended["one"]["volume"]
    assert 2 == site.call("GetPool", pb.GetRequest(name=pool)).spec.min_ready
    with log_in(mended["one"], "iqn.2026-01.com.example:one") as session:
        assert session.is_alive()
    project.run("destroy", "--skip-preview")


def clonepool(site: Site, *words: str) -> str:
    """The command line, as an operator uses it beside Pulumi."""
    argv = [str(VENV / "bin/clonepool"), *words]
    endpoint = {"CLONEPOOL_ENDPOINT": site.engine.endpoint}
    return commands.run(argv, timeout_s=60, env=endpoint).stdout.decode()


def test_the_chap_secret_rests_encrypted(start: Start, site: Site) -> None:
    """It opens the server's door, and is in the clear neither in the state nor on the screen."""
    project = start(PROGRAM)
    shown = up(project).text
    outputs = project.outputs()
    for server in ("one", "two"):
        with log_in(outputs[server], f"iqn.2026-01.com.example:{server}") as session:
            assert session.is_alive()
        secret = outputs[server]["secret"]
        assert secret not in project.state()
        assert secret not in shown
        assert secret not in project.run("stack", "output", "--json").text
    assert 12 <= len(outputs["one"]["secret"])
    project.run("destroy", "--skip-preview")


def test_replacing_one_server_touches_no_other(start: Start, site: Site) -> None:
    """`--target-replace`: a new volume for it; another server's session is not even interrupted."""
    project = start(PROGRAM)
    up(project)
    before = project.outputs()
    old = attached_to(site, before["pool"])["web-one"]
    urn = _urn(project, "ServerStorageAttachment::one")
    with log_in(before["two"], "iqn.2026-01.com.example:two") as session:
        up(project, "--target-replace", urn)
        assert session.is_alive()
        # a server that is logged in is not cut off by taking everything down
        refused = project.run("destroy", "--skip-preview", expect=None)
        assert refused.exit_code != 0
        assert "log it out first" in refused.text
        assert "Traceback" not in refused.text
        assert session.is_alive()
    after = attached_to(site, before["pool"])
    assert {"web-two": before["two"]["volume"]} == {n: a.volume_id for n, a in after.items()}
    assert is_refused(old)
    project.run("destroy", "--skip-preview")


def _urn(project: PulumiProject, ending: str) -> str:
    resources = json.loads(project.state())["deployment"]["resources"]
    (urn,) = [item["urn"] for item in resources if item["urn"].endswith(ending)]
    return str(urn)
