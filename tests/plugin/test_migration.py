"""`clonepool migrate pulumi`: a stack of the dynamic classes becomes one of the plugin's types."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clonepool.errors import FailedPrecondition, InvalidArgument
from pulumi_clonepool_plugin.migration import migrate
from tests.provider.faulty_engine import SECRET, FaultyEngine
from tests.support.plugin_project import YamlProject
from tests.support.pulumi_project import PulumiProject

STACK = "urn:pulumi:test::trial::pulumi:pulumi:Stack::trial-test"
DYNAMIC = "pulumi-python:dynamic/clonepool"
POOL_URN = f"urn:pulumi:test::trial::my:site:Site${DYNAMIC}:ReplicaPool::web"
PROVIDER = "urn:pulumi:test::trial::pulumi:providers:pulumi-python::default"
ENCRYPTED = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
POOL: dict[str, Any] = {
    "urn": POOL_URN,
    "custom": True,
    "id": "pool-1",
    "type": f"{DYNAMIC}:ReplicaPool",
    "inputs": {
        "__provider": "gASV",
        "__request_token": "trial/test/x/web",
        "name": "web",
        "image_version": None,
        "scrub": {"on_low_space": True},
    },
    "outputs": {"__provider": "gASV", "name": "web", "scrub": {"on_low_space": True}},
    "parent": "urn:pulumi:test::trial::my:site:Site::site",
    "provider": f"{PROVIDER}::807a4f4d",
    "propertyDependencies": {"__provider": [], "scrub": [POOL_URN]},
    "ignoreChanges": ["scrub.on_low_space"],
    "protect": True,
}
STATE: dict[str, Any] = {
    "version": 3,
    "deployment": {
        "manifest": {"version": "v3.259.0"},
        "resources": [
            {"urn": STACK, "type": "pulumi:pulumi:Stack", "custom": False},
            {"urn": PROVIDER, "type": "pulumi:providers:pulumi-python", "custom": True},
            POOL,
            {"urn": "urn:x", "type": "other:index:Thing", "dependencies": [POOL_URN]},
        ],
    },
}
DYNAMIC_PROGRAM = """
import pulumi_clonepool as clonepool

image = clonepool.MasterImage(
    "image",
    system_user={"name": "acme", "kind": "customer"},
    writable={"source": "/images/web.raw", "size": "1GiB"},
    labels={"os_family": "debian"},
)
pool = clonepool.ReplicaPool("pool", master_image=image, min_ready=3, scrub={"threshold": 2})
web2 = clonepool.Server("web2", initiator="iqn.2026-01.com.example:web2")
clonepool.ServerStorageAttachment(
    "a1",
    pool=pool,
    inline_server={"name": "web1", "initiator": "iqn.2026-01.com.example:web1"},
    chap={"mode": "given", "username": "web1", "secret": "open sesame!"},
    timeouts={"create": "60s"},
)
clonepool.ServerStorageAttachment("a2", pool=pool, server=web2)
"""
YAML_PROGRAM = """
resources:
  image:
    type: clonepool:MasterImage
    properties:
      systemUser: {name: acme, kind: customer}
      writable: {source: /images/web.raw, size: 1GiB}
      labels: {os_family: debian}
  pool:
    type: clonepool:ReplicaPool
    properties: {masterImage: "${image.name}", minReady: 3, scrub: {threshold: 2}}
  web2:
    type: clonepool:Server
    properties: {initiator: "iqn.2026-01.com.example:web2"}
  a1:
    type: clonepool:ServerStorageAttachment
    properties:
      pool: ${pool.name}
      inlineServer: {name: web1, initiator: "iqn.2026-01.com.example:web1"}
      chap: {mode: given, username: web1, secret: "open sesame!"}
      timeouts: {create: 60s}
  a2:
    type: clonepool:ServerStorageAttachment
    properties: {pool: "${pool.name}", server: "${web2.name}"}
"""


def migrated(state: dict[str, Any]) -> dict[str, Any]:
    """The resources after it, by the last part of their URNs."""
    resources = migrate(state).state["deployment"]["resources"]
    return {resource["urn"].rsplit("::", 1)[-1]: resource for resource in resources}


def with_pool(**changes: Any) -> dict[str, Any]:
    state = copy.deepcopy(STATE)
    state["deployment"]["resources"][2].update(changes)
    return state


def test_types_and_properties_are_respelled_wherever_they_stand() -> None:
    before = copy.deepcopy(STATE)
    after = migrated(STATE)
    pool, turned = after["web"], "urn:pulumi:test::trial::my:site:Site$clonepool:index:ReplicaPool"

    assert (f"{turned}::web", "clonepool:index:ReplicaPool") == (pool["urn"], pool["type"])
    assert {"name": "web", "scrub": {"onLowSpace": True}} == pool["inputs"] == pool["outputs"]
    assert {"scrub": [f"{turned}::web"]} == pool["propertyDependencies"]
    assert ["scrub.onLowSpace"] == pool["ignoreChanges"]
    assert [f"{turned}::web"] == after["urn:x"]["dependencies"]
    # what nobody needs any more goes, all else stays, what was given too
    assert "default" not in after
    assert ("pool-1", True) == (pool["id"], pool["protect"])
    assert before == STATE


def test_a_provider_that_other_dynamic_classes_use_stays() -> None:
    state = copy.deepcopy(STATE)
    other = {"urn": "urn:y", "type": "pulumi-python:dynamic:Resource", "provider": f"{PROVIDER}::8"}
    state["deployment"]["resources"].append(other)

    assert {"default", "urn:y"} < migrated(state).keys()


def test_trouble_becomes_what_the_plugin_would_say_of_it() -> None:
    state = with_pool(outputs={"name": "web", "__trouble": "no space left"})

    assert ["no space left"] == migrated(state)["web"]["initErrors"]


def test_an_encrypted_value_passes_unless_it_hides_other_names() -> None:
    hidden = with_pool(inputs={"name": ENCRYPTED, "scrub": ENCRYPTED})
    plain = with_pool(inputs={"name": ENCRYPTED})

    assert {"name": ENCRYPTED} == migrated(plain)["web"]["inputs"]
    with pytest.raises(FailedPrecondition, match="export --show-secrets"):
        migrate(hidden)


def test_an_update_that_was_cut_off_is_cleared_first() -> None:
    state = copy.deepcopy(STATE)
    state["deployment"]["pending_operations"] = [{"type": "creating"}]

    with pytest.raises(FailedPrecondition, match="clear-pending-creates"):
        migrate(state)


def test_what_is_no_export_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="pulumi stack export"):
        migrate({"resources": []})


def test_migrating_twice_changes_nothing_more() -> None:
    once = migrate(STATE)

    again = migrate(once.state)

    assert (once.state, 1, 0) == (again.state, once.resources, again.resources)


DYNAMIC = "pulumi-python:dynamic/clonepool:"


def run_command(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    program = "from clonepool.cli import main; raise SystemExit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, "migrate", "pulumi", *words],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_reads_a_file_or_standard_input(tmp_path: Path) -> None:
    exported = tmp_path / "state.json"
    exported.write_text(json.dumps(STATE))

    by_file, by_stdin = run_command(str(exported)), run_command("-", given=json.dumps(STATE))

    assert migrate(STATE).state == json.loads(by_file.stdout) == json.loads(by_stdin.stdout)
    assert "1 resources are of the plugin's types now" in by_file.stderr
    wrong = run_command("-", given="no JSON")
    assert (2, "") == (wrong.returncode, wrong.stdout)
    assert "write it by `pulumi stack export`" in wrong.stderr


@pytest.mark.parametrize(
    ("resource", "which"),
    [
        (5, "resource 1 is"),
        ({"type": "x"}, "resource 1 is"),
        ({"urn": "urn:a", "type": DYNAMIC + "Server", "inputs": 5}, "resource 1 (urn:a) is"),
        ({"urn": "urn:a", "type": DYNAMIC + "Server", "outputs": [1]}, "resource 1 (urn:a) is"),
    ],
)
def test_a_resource_of_another_shape_is_named(tmp_path: Path, resource: Any, which: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"deployment": {"resources": [resource]}}))
    wrong = run_command(str(path))
    assert (2, "") == (wrong.returncode, wrong.stdout)
    assert f"error: {path}: {which} not as `pulumi stack export` writes it" in wrong.stderr


@pytest.fixture
def projects(
    tmp_path: Path, pulumi_bin: Path, plugin_bin: Path, yaml_bin: Path, endpoint: str
) -> tuple[PulumiProject, YamlProject]:
    """One stack, spoken of in Python's dynamic classes and in YAML."""
    where: dict[str, Any] = {
        "folder": tmp_path / "pulumi",
        "pulumi_bin": pulumi_bin,
        "plugin_folders": [plugin_bin, yaml_bin],
        "variables": {"CLONEPOOL_ENDPOINT": endpoint},
    }
    return PulumiProject(**where), YamlProject(**where)


@pytest.mark.pulumi
@pytest.mark.pulumi_yaml
@pytest.mark.slow
def test_a_migrated_stack_has_nothing_to_change(
    tmp_path: Path, projects: tuple[PulumiProject, YamlProject], engine: FaultyEngine
) -> None:
    """The next preview of the same infrastructure is empty, and so is a refresh."""
    dynamic, plugin = projects
    dynamic.create(DYNAMIC_PROGRAM)
    dynamic.run("up", "--skip-preview")
    made = [*engine.images.items, *engine.pools.items, *engine.attachments.items]
    exported = dynamic.state()

    turned = run_command("-", given=exported)
    assert 0 == turned.returncode, turned.stderr
    (tmp_path / "turned.json").write_text(turned.stdout)
    plugin.run("stack", "import", "--file", str(tmp_path / "turned.json"))
    plugin.write(YAML_PROGRAM)
    asked = len(engine.calls)

    assert "6 unchanged" in plugin.run("preview", "--expect-no-changes").text
    assert asked == len(engine.calls)
    assert "6 unchanged" in plugin.run("refresh", "--skip-preview").text
    assert "6 unchanged" in plugin.run("up", "--skip-preview").text
    assert made == [*engine.images.items, *engine.pools.items, *engine.attachments.items]
    state = plugin.state()
    assert [] == [word for word in ("pulumi-python", SECRET, "open sesame!") if word in state]

    plugin.write(YAML_PROGRAM.replace("minReady: 3", "minReady: 4"))
    assert "~ 1 updated" in plugin.run("up", "--skip-preview").text
    plugin.run("destroy", "--skip-preview")
    assert [] == engine.images.names() + engine.pools.names() + engine.attachments.names()
