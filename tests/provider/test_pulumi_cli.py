"""The real command line, the real dynamic server, the real gRPC: only the engine is a double.

What needs faults of the engine is tested here; with the real engine it is in ``tests/e2e``.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.provider.faulty_engine import SECRET, FaultyEngine
from tests.support.pulumi_project import PulumiProject, Result

pytestmark = [pytest.mark.pulumi, pytest.mark.slow]

MakeProject = Callable[..., PulumiProject]
AWAY = "unix:///nowhere/engine.sock"
PROGRAM = """
import pulumi
import pulumi_clonepool as clonepool

image = clonepool.MasterImage(
    "web",
    system_user={"name": "acme", "kind": "customer"},
    writable={"source": "/images/web.raw", "size": "1GiB"},
)
pool = clonepool.ReplicaPool("web", master_image=image, min_ready=3, wait_for_ready=3)
for number in (1, 2):
    attachment = clonepool.ServerStorageAttachment(
        f"a{number}",
        pool=pool,
        inline_server={
            "name": f"web{number}",
            "initiator": f"iqn.2026-01.com.example:web{number}",
        },
    )
    pulumi.export(f"volume{number}", attachment.volume)
pulumi.export("portal", attachment.connection.portals[0])
pulumi.export("lun", attachment.connection.volumes[0].lun)
pulumi.export("chap_secret", attachment.chap_secret)
pulumi.export("size", image.size_bytes.writable)
pulumi.export("ready", clonepool.get_pool_output(pool).ready)
"""
ONE_POOL = """
import pulumi_clonepool as clonepool

clonepool.ReplicaPool("web", master_image="base", min_ready=1)
"""
ONE_ATTACHMENT = """
import pulumi_clonepool as clonepool

clonepool.ServerStorageAttachment("a1", pool="web", server="web1")
"""


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:test::trial::pulumi-python:dynamic/clonepool:{kind}::{name}"


def at(project: PulumiProject, endpoint: str) -> PulumiProject:
    """The same project with its engine elsewhere."""
    return dataclasses.replace(project, variables={"CLONEPOOL_ENDPOINT": endpoint})


def up(project: PulumiProject, *words: str, expect: int | None = 0) -> Result:
    return project.run("up", "--skip-preview", *words, expect=expect)


def steps(project: PulumiProject, *words: str) -> dict[str, Any]:
    """The steps of a preview by the resource's name, the stack's own left out."""
    plan = project.read_json("preview", *words)
    return {
        step["urn"].rsplit("::", 1)[1]: step
        for step in plan["steps"]
        if "clonepool" in step["urn"] and step["op"] != "same"
    }


def replace_the_image(project: PulumiProject, engine: FaultyEngine) -> None:
    """Whose image it is can't change in place, and all that hangs on it must go before it."""
    project.write(PROGRAM.replace("acme", "other"))
    planned = steps(at(project, AWAY), "--diff")
    assert {"web", "a1", "a2"} == set(planned)
    before = len(engine.calls)
    up(project)
    made = [call for call, _ in engine.calls[before:] if call.split()[0] in ("create", "delete")]
    assert made[:4] == ["delete attachment"] * 2 + ["delete pool", "delete image"]
    assert made[4:6] == ["create image", "create pool"]
    assert ["trial-test-a1", "trial-test-a2"] == engine.attachments.names()


def test_the_life_of_a_stack(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    """Preview, up, up again, a change in place, a replacement, and destroy."""
    project = make_project(PROGRAM, endpoint=endpoint)

    preview = at(project, AWAY).run("preview", "--diff").text
    assert "+ 5 to create" in preview
    # names are known before anything is there, so what depends on them shows
    assert 'master_image   : "trial-test-web"' in preview

    engine.knobs.import_looks, engine.knobs.fill_looks = 2, 2
    first = up(project).text
    assert "importing 120 MiB of 1 GiB" in first
    assert "cloning 1/3" in first
    outputs = project.outputs()
    assert ("127.0.0.1:3260", 2, SECRET, 2**20, 3) == tuple(
        outputs[name] for name in ("portal", "lun", "chap_secret", "size", "ready")
    )
    assert outputs["volume1"] != outputs["volume2"]

    asked = len(engine.calls)
    assert (
        "5 unchanged" in at(project, AWAY).run("preview", "--expect-no-changes", expect=None).text
    )
    assert asked == len(engine.calls)

    # another spelling of a size is no change; a new stock is one in place
    project.write(PROGRAM.replace("1GiB", "1024MiB").replace("min_ready=3", "min_ready=4"))
    ids = {item.id for item in engine.pools.items.values()}
    changed = up(project, "--diff").text
    assert "~ min_ready: 3 => 4" in changed
    assert "~ 1 updated" in changed
    assert ids == set(engine.pools.items)

    replace_the_image(project, engine)

    project.run("destroy", "--skip-preview")
    assert [] == engine.images.names() + engine.pools.names() + engine.attachments.names()


def test_a_secret_rests_encrypted_and_is_shown_to_nobody(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    given = "open sesame!"
    account = {"mode": "given", "username": "web1", "secret": given}
    program = ONE_ATTACHMENT.replace('server="web1"', f'server="web1", chap={account!r}')
    program += "\nimport pulumi\npulumi.export('account', attachment.chap)\n"
    program = program.replace("clonepool.Server", "attachment = clonepool.Server", 1)
    project = make_project(program, endpoint=endpoint)

    shown = up(project, "--diff").text
    state = project.state()

    assert given not in shown
    assert given not in state
    assert given == engine.attachments.one().spec.chap.secret
    resource = next(
        found for found in json.loads(state)["deployment"]["resources"] if "a1" in found["urn"]
    )
    assert "ciphertext" in resource["outputs"]["chap_secret"]
    assert "ciphertext" in json.dumps(resource["inputs"]["chap"])
    # by reference, so that an edited program is no update of the provider
    assert len(resource["inputs"]["__provider"]) < 120
    assert "unchanged" in project.run("preview", "--expect-no-changes").text


def test_a_refresh_sees_drift_and_what_is_gone(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    project = make_project(ONE_POOL + ONE_ATTACHMENT, endpoint=endpoint)
    up(project)
    pool = engine.pools.one()
    object.__setattr__(pool.spec, "max_replicas", 7)
    engine.attachments.items.clear()

    seen = project.run("refresh", "--skip-preview", "--diff").text
    assert "~ max_replicas: 100 => 7" in seen
    assert "1 deleted" in seen

    planned = steps(project)
    assert {"web": "update", "a1": "create"} == {name: step["op"] for name, step in planned.items()}
    up(project)
    assert 100 == engine.pools.one().spec.max_replicas
    assert ["trial-test-a1"] == engine.attachments.names()


def test_a_pool_that_stopped_is_started_again_by_the_next_up(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    project = make_project(ONE_POOL, endpoint=endpoint)
    up(project)
    engine.knobs.stopped_reason = "no space left"
    project.run("refresh", "--skip-preview")

    assert ["update"] == [step["op"] for step in steps(project).values()]
    engine.knobs.stopped_reason = ""
    up(project)

    assert {} == steps(project)


def test_what_is_wrong_is_said_per_property_before_anything_is_done(
    make_project: MakeProject,
) -> None:
    program = ONE_POOL.replace(
        "min_ready=1", "min_ready=-1, clone_mode='lazy', scrub={'treshold': 3}"
    )
    said = make_project(program, endpoint=AWAY).run("preview", expect=None)

    assert 0 != said.exit_code
    for words in (
        "property min_ready value {-1} has a problem: -1 is less than 0",
        "'lazy' is not one of auto, thin, full",
        "is not known here; did you mean threshold?",
    ):
        assert words in said.text
    assert "Traceback" not in said.text


@pytest.mark.parametrize("command", ["up", "destroy"])
def test_an_engine_that_is_away_is_said_in_one_line(
    make_project: MakeProject, endpoint: str, command: str
) -> None:
    project = make_project(ONE_POOL, endpoint=endpoint)
    if command != "up":
        up(project)

    said = at(project, AWAY).run(command, "--skip-preview", expect=None)

    assert 0 != said.exit_code
    assert f"no engine answers at {AWAY}; start it with `clonepool serve`" in said.text
    assert "Traceback" not in said.text


def test_a_look_up_that_fails_ends_the_program_with_one_line(make_project: MakeProject) -> None:
    program = "import pulumi_clonepool as clonepool\n\nclonepool.get_pool('web')\n"

    said = make_project(program, endpoint=AWAY).run("preview", expect=None)

    assert 0 != said.exit_code
    assert "error: can't look up pool web: no engine answers at" in said.text
    assert "Traceback" not in said.text


def test_a_failed_import_says_why_and_leaves_nothing_behind(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    engine.knobs.import_error = "sha256 of /images/web.raw differs"
    project = make_project(PROGRAM, endpoint=endpoint)

    said = up(project, expect=None)

    assert 0 != said.exit_code
    assert "error: master image trial-test-web: the import of version 1 failed: sha256" in said.text
    assert "Traceback" not in said.text
    assert [] == engine.images.names()
    assert "pending_operations" not in json.loads(project.state())["deployment"]


def test_a_server_that_is_logged_in_keeps_its_attachment(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    project = make_project(ONE_ATTACHMENT, endpoint=endpoint)
    up(project)
    engine.knobs.logged_in = True

    said = project.run("destroy", "--skip-preview", expect=None)

    assert 0 != said.exit_code
    assert "server web1 is logged in; log it out first, or set force_detach" in said.text
    assert ["trial-test-a1"] == engine.attachments.names()

    project.write(ONE_ATTACHMENT.replace('server="web1"', 'server="web1", force_detach=True'))
    up(project)
    project.run("destroy", "--skip-preview")
    assert [] == engine.attachments.names()


def test_an_interrupted_up_and_its_retry_make_one_object(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    engine.knobs.stock = 0
    project = make_project(ONE_ATTACHMENT, endpoint=endpoint)
    _interrupt_up(project, engine)
    (waiting,) = engine.attachments.items
    asked = engine.asked("create attachment")

    # the program has changed since: what is there is brought up to date
    engine.knobs.stock = 1
    project.write(ONE_ATTACHMENT.replace('server="web1"', 'server="web1", force_detach=True'))
    up(project)

    assert [waiting] == list(engine.attachments.items)
    assert engine.attachments.one().spec.force_detach
    assert engine.asked("create attachment") <= asked + 2
    assert {} == steps(project)


def test_a_replacement_by_hand_destroys_nothing_but_the_replaced(
    make_project: MakeProject, endpoint: str, engine: FaultyEngine
) -> None:
    """Pulumi then asks no diff: the create must not be handed what the delete takes away."""
    project = make_project(PROGRAM, endpoint=endpoint)
    up(project)
    others = {**engine.images.items, **engine.pools.items}

    for option in ("--replace", "--target-replace"):
        before = dict(engine.attachments.items)
        up(project, option, urn("ServerStorageAttachment", "a1"))

        assert others.keys() == {**engine.images.items, **engine.pools.items}.keys()
        assert ["trial-test-a1", "trial-test-a2"] == engine.attachments.names()
        kept = set(before) & set(engine.attachments.items)
        assert ["trial-test-a2"] == [before[item].spec.name for item in kept]
    assert {} == steps(project)


def _interrupt_up(project: PulumiProject, engine: FaultyEngine) -> None:
    """Ctrl-C twice in the middle of a create: the first waits for it, the second does not."""
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
    assert process.stdout is not None
    printed: list[str] = []
    deadline = time.monotonic() + 60
    while engine.asked("create attachment") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    for line in process.stdout:
        printed.append(line)
        if "cancelling" in line:
            process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert 0 != process.wait(60), "".join(printed)
