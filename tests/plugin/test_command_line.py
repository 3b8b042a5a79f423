"""The real command line on the plugin, with faults in the engine: secrets, failures, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.provider.faulty_engine import SECRET, FaultyEngine
from tests.support.plugin_project import YamlProject

pytestmark = [pytest.mark.pulumi, pytest.mark.pulumi_yaml, pytest.mark.slow]

MakeYaml = Callable[..., YamlProject]
AWAY = "unix:///nowhere/engine.sock"
ATTACHMENT = """
resources:
  a1:
    type: clonepool:ServerStorageAttachment
    properties: {name: a1, pool: web, server: web1}
"""
POOL = """
resources:
  web:
    type: clonepool:ReplicaPool
    properties: {name: web, masterImage: base, minReady: 3, waitForReady: 3}
"""


def up(project: YamlProject, *, expect: int | None = 0) -> str:
    return project.run("up", "--skip-preview", expect=expect).text


def test_secrets_rest_encrypted_and_are_shown_to_nobody(
    make_yaml: MakeYaml, endpoint: str, engine: FaultyEngine
) -> None:
    given = "open sesame!"
    account = f'chap: {{mode: given, username: web1, secret: "{given}"}}, server: web1'
    program = ATTACHMENT.replace("server: web1", account)
    project = make_yaml(program + "outputs: {secret: '${a1.chapSecret}'}\n", endpoint=endpoint)

    shown = up(project) + project.run("preview", "--diff").text
    state = project.state()

    assert given == engine.attachments.one().spec.chap.secret
    assert given not in shown + state
    (resource,) = (
        found for found in json.loads(state)["deployment"]["resources"] if "a1" in found["urn"]
    )
    for part in (resource["inputs"]["chap"]["secret"], resource["outputs"]["chapSecret"]):
        assert "ciphertext" in part
    assert given == project.outputs()["secret"]

    project.write(ATTACHMENT)
    up(project)
    assert SECRET not in project.state()


def test_what_is_wrong_is_said_per_property(make_yaml: MakeYaml) -> None:
    program = POOL.replace("minReady: 3", "minReady: -1, scrub: {threshold: 0}")

    said = make_yaml(program, endpoint=AWAY).run("preview", expect=None)

    assert 0 != said.exit_code
    assert "property minReady value {-1} has a problem: -1 is less than 0" in said.text
    assert "property scrub.threshold" in said.text


def test_an_engine_that_is_away_ends_an_up_but_no_preview(make_yaml: MakeYaml) -> None:
    project = make_yaml(POOL, endpoint=AWAY)

    assert "+ 2 to create" in project.run("preview").text
    said = project.run("up", "--skip-preview", expect=None)

    assert 0 != said.exit_code
    assert f"no engine answers at {AWAY}; start it with `clonepool serve`" in said.text
    assert "Traceback" not in said.text


def test_a_half_made_pool_is_kept_and_finished_by_the_next_up(
    make_yaml: MakeYaml, endpoint: str, engine: FaultyEngine
) -> None:
    engine.knobs.fill_looks = 10_000
    slow = POOL.replace("3, waitForReady: 3", "90, waitForReady: 90")
    project = make_yaml(slow + "    options: {customTimeouts: {create: 1s}}\n", endpoint=endpoint)

    said = up(project, expect=None)
    (pool,) = engine.pools.items

    assert "cloning 1/90" in said
    assert "the cloning goes on" in said
    plan = project.read_json("preview")
    assert ["update"] == [s["op"] for s in plan["steps"] if "ReplicaPool" in s["urn"]]
    up(project)
    assert [pool] == list(engine.pools.items)
    assert "unchanged" in project.run("preview", "--expect-no-changes").text


def test_what_is_there_is_imported_by_the_command_that_the_refusal_names(
    make_yaml: MakeYaml, endpoint: str, engine: FaultyEngine
) -> None:
    other = make_yaml(POOL, endpoint=endpoint)
    up(other)
    (pool,) = engine.pools.items
    other.run("state", "delete", "urn:pulumi:test::trial::clonepool:index:ReplicaPool::web")

    refused = up(other, expect=None)
    command = f"pulumi import clonepool:index:ReplicaPool web {pool}"
    assert f"`{command}`" in refused

    options = ("--generate-code=false", "--protect=false")
    assert "= 1 imported" in other.run(*command.split()[1:], *options).text
    assert "unchanged" in other.run("preview", "--expect-no-changes").text
    other.run("destroy", "--skip-preview")
    assert [] == engine.pools.names()


def test_an_interrupted_up_leaves_nothing_behind(
    make_yaml: MakeYaml, endpoint: str, engine: FaultyEngine
) -> None:
    """The first Ctrl-C ends the wait: no orphan, no pending operation."""
    engine.knobs.stock = 0
    project = make_yaml(ATTACHMENT, endpoint=endpoint)
    argv = [str(project.pulumi_bin / "pulumi"), "up", "--skip-preview", "--non-interactive"]
    process = subprocess.Popen(
        argv,
        cwd=project.folder / "program",
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a Ctrl-C goes to the whole group, which must not be pytest's
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while engine.asked("create attachment") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)

    assert 0 != process.returncode
    assert "attachment a1: cancelled; nothing of it is left" in said
    assert [] == engine.attachments.names()
    assert "pending_operations" not in json.loads(project.state())["deployment"]
    engine.knobs.stock = 1
    up(project)
    assert ["a1"] == engine.attachments.names()


def test_a_replacement_by_hand_takes_nothing_away(
    make_yaml: MakeYaml, endpoint: str, engine: FaultyEngine
) -> None:
    """Pulumi then asks no diff and creates first: a name of its own is refused, and all is kept."""
    project = make_yaml(ATTACHMENT, endpoint=endpoint)
    up(project)
    (first,) = engine.attachments.items
    urn = "urn:pulumi:test::trial::clonepool:index:ServerStorageAttachment::a1"

    said = project.run("up", "--skip-preview", "--replace", urn, expect=None)
    assert 0 != said.exit_code
    assert "set the option deleteBeforeReplace" in said.text
    assert [first] == list(engine.attachments.items)

    project.write(ATTACHMENT + "    options: {deleteBeforeReplace: true}\n")
    project.run("up", "--skip-preview", "--replace", urn)
    assert ["a1"] == engine.attachments.names()
    assert [first] != list(engine.attachments.items)


def test_an_autonamed_replacement_by_hand_has_a_name_of_its_own(
    make_yaml: MakeYaml, endpoint: str, engine: FaultyEngine
) -> None:
    project = make_yaml(ATTACHMENT.replace("name: a1, ", ""), endpoint=endpoint)
    up(project)
    (first,) = engine.attachments.names()
    urn = "urn:pulumi:test::trial::clonepool:index:ServerStorageAttachment::a1"

    project.run("up", "--skip-preview", "--replace", urn)

    (second,) = engine.attachments.names()
    assert first != second
