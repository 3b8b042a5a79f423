"""What plans say of the order of their resources, as Pulumi and Terraform wrote it (recorded)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clonepool.cli import OK, USAGE
from clonepool.cli.plan_files import read_pulumi, read_terraform
from clonepool.cli.plan_order import nearest, of_configuration, without_index
from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine

PLANS = Path(__file__).parents[1] / "fixtures/forecast"
DYNAMIC = "pulumi-python:dynamic/clonepool:"


def recorded(name: str) -> Any:
    return json.loads((PLANS / name).read_text())


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:test::shop::{DYNAMIC}{kind}::{name}"


def step(kind: str, name: str, **state: Any) -> dict[str, Any]:
    inputs = {"name": name, "pool": "web", "master_image": "web"}
    new = {"type": DYNAMIC + kind, "inputs": inputs, "custom": True, **state}
    return {"op": "create", "urn": urn(kind, name), "newState": new}


def test_pulumi_names_what_each_resource_depends_on() -> None:
    changes = read_pulumi(recorded("pulumi-change.json")).changes
    found = {
        change.attach.name: [key.rpartition("::")[2] for key in change.after]
        for change in changes
        if change.WhichOneof("change") == "attach"
    }
    (four,) = [keys for name, keys in found.items() if name not in ("two", "three")]
    assert (["web"], ["web"], ["web", "three"]) == (found["two"], found["three"], four)


def test_by_way_of_other_resources_it_depends_on_the_nearest_of_ours() -> None:
    other = "urn:pulumi:test::shop::random:index:RandomId::id"
    document = {
        "steps": [
            step("MasterImage", "web"),
            step("ReplicaPool", "web", propertyDependencies={"x": [urn("MasterImage", "web")]}),
            {
                "op": "same",
                "urn": other,
                "newState": {"type": "random", "dependencies": [urn("ReplicaPool", "web")]},
            },
            step("ServerStorageAttachment", "one", dependencies=[other]),
            step("ServerStorageAttachment", "two", parent=urn("ServerStorageAttachment", "one")),
            step("ServerStorageAttachment", "three", provider=f"{other}::some-id"),
        ]
    }
    changes = {change.key: list(change.after) for change in read_pulumi(document).changes}
    assert {
        urn("MasterImage", "web"): [],
        urn("ReplicaPool", "web"): [urn("MasterImage", "web")],
        urn("ServerStorageAttachment", "one"): [urn("ReplicaPool", "web")],
        urn("ServerStorageAttachment", "two"): [urn("ServerStorageAttachment", "one")],
        urn("ServerStorageAttachment", "three"): [urn("ReplicaPool", "web")],
    } == changes


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        # by its module's variable
        ("module.m.terraform_data.at", {"terraform_data.pool"}),
        ("module.m.terraform_data.second", {"module.m.terraform_data.at"}),
        # by an output of a module, and by depends_on of the whole of it
        (
            "terraform_data.after",
            {"module.m.terraform_data.at", "module.m.terraform_data.second"},
        ),
        ("terraform_data.dep", {"terraform_data.pool"}),
        # by a data source, which depends on it by its configuration
        ("terraform_data.by_data", {"data.terraform_remote_state.x"}),
        ("data.terraform_remote_state.x", {"terraform_data.dep"}),
        # what a local value stands for is not in a plan's JSON
        ("terraform_data.by_local", set()),
        ("terraform_data.pool", set()),
    ],
)
def test_terraform_names_what_each_resource_refers_to(address: str, expected: set[str]) -> None:
    document = recorded("terraform-references.json")
    before = of_configuration(document["configuration"])
    keys = {without_index(each["address"]) for each in document["resource_changes"]}
    assert expected == nearest(address, before, keys)


def terraform_plan(**configuration: Any) -> dict[str, Any]:
    def change(address: str, kind: str) -> dict[str, Any]:
        after = {"name": address[-6:], "pool": "web", "master_image": "web"}
        created = {"actions": ["create"], "after": after}
        return {"address": address, "mode": "managed", "type": kind, "change": created}

    return {
        "resource_changes": [
            change('clonepool_server.s["a.b"]', "clonepool_server"),
            change("clonepool_server.s[1]", "clonepool_server"),
            change("module.m[0].clonepool_replica_pool.p", "clonepool_replica_pool"),
        ],
        "configuration": configuration,
    }


def test_instances_come_after_all_instances_of_what_they_refer_to() -> None:
    """As Terraform does it: it orders resources, not instances."""
    pool = {"address": "clonepool_replica_pool.p", "expressions": {}}
    server = {"address": "clonepool_server.s"}
    calls = {"m": {"module": {"resources": [pool]}, "depends_on": ["clonepool_server.s"]}}
    document = terraform_plan(root_module={"resources": [server], "module_calls": calls})
    found = [(change.key, list(change.after)) for change in read_terraform(document).changes]
    assert [
        ("clonepool_server.s", []),
        ("clonepool_server.s", []),
        ("module.m.clonepool_replica_pool.p", ["clonepool_server.s"]),
    ] == found


def test_the_engine_is_told_of_the_order(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    assert OK == run("forecast", "pulumi", str(PLANS / "pulumi-create.json"))[0]
    (plan,) = engine.forecasts.plans
    after = {change.key.rpartition(":")[2]: set(change.after) for change in plan.changes}
    assert {urn("ReplicaPool", "web")} == after["one"]


@pytest.mark.parametrize(
    "configuration",
    [{"root_module": 5}, {"root_module": {"resources": [{}]}}, {"root_module": {"outputs": [1]}}],
    ids=str,
)
def test_a_configuration_of_another_shape_is_refused(
    run: Run, engine: FakeEngine, tmp_path: Path, configuration: Any
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(terraform_plan(**configuration)))
    code, out, err = run("forecast", "terraform", str(path))
    assert (USAGE, "") == (code, out)
    assert err.startswith(f"error: {path}: its configuration is not as `terraform show -json PLAN`")
