"""What a plan says: unknowns at any depth, the state's own spelling, what forces a new one."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from terraform_clonepool.attributes import RESOURCES, Managed
from terraform_clonepool.planning import Plan, plan_create, plan_update
from terraform_clonepool.proto import tfplugin6_pb2 as pb
from terraform_clonepool.values import typed_fields
from terraform_clonepool.wire import UNKNOWN, read_value, write_value

BY_NAME = {managed.declared.name: managed for managed in RESOURCES}
POOL = {"name": "web", "master_image": "web"}
IMAGE = {"name": "web", "writable": {"source": "/images/web.img", "size": "10GiB"}}
ATTACHMENT = {"name": "a", "pool": "web", "server": "web1"}


def full(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return typed_fields(values, BY_NAME[kind].shown.fields)


def created(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return plan_create(BY_NAME[kind].shown, config=full(kind, config)).values


def applied(kind: str, config: dict[str, Any], **outputs: Any) -> dict[str, Any]:
    """A state after an apply: what was unknown is there."""
    plan = created(kind, config)
    known = {name: None if value is UNKNOWN else value for name, value in plan.items()}
    return {**known, "id": "id-1", "trouble": "", **outputs}


def changed(kind: str, prior: dict[str, Any], config: dict[str, Any]) -> Plan:
    return plan_update(BY_NAME[kind].shown, config=full(kind, config), prior=prior)


def unknowns(plan: Plan) -> set[str]:
    return {name for name, value in plan.values.items() if value is UNKNOWN}


def test_defaults_are_in_the_plan_and_outputs_are_not_known() -> None:
    plan = created("ReplicaPool", {**POOL, "scrub": {"threshold": 2}})

    assert {
        "threshold": 2,
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
    } == plan["scrub"]
    assert ({"max_unavailable": 1}, None, UNKNOWN) == (
        plan["rollout"],
        plan["image_version"],
        plan["id"],
    )


@pytest.mark.parametrize(("stock", "awaited"), [(UNKNOWN, UNKNOWN), (0, 0), (5, 1)])
def test_a_default_that_hangs_on_what_is_unknown_is_unknown_too(stock: Any, awaited: Any) -> None:
    assert awaited is created("ReplicaPool", {**POOL, "min_ready": stock})["wait_for_ready"]


def test_unknowns_stay_where_they_are() -> None:
    plan = created(
        "MasterImage",
        {
            "name": UNKNOWN,
            "writable": {"source": UNKNOWN, "size": "1GiB"},
            "preconfigure": [UNKNOWN, {"portion": "writable", "path": "/a", "content": UNKNOWN}],
            "labels": {"a": UNKNOWN},
        },
    )

    assert {"source": UNKNOWN, "format": "auto", "size": "1GiB", "sha256": None} == plan["writable"]
    assert (UNKNOWN, "0644") == (plan["preconfigure"][0], plan["preconfigure"][1]["mode"])
    assert {"a": UNKNOWN} == plan["labels"]


def test_the_same_value_in_another_spelling_changes_nothing() -> None:
    prior = applied("MasterImage", IMAGE, version=1)
    image = {"name": "web", "writable": {"source": "/images/web.img", "size": "10240MiB"}}

    assert Plan(values=prior) == changed("MasterImage", prior, image)


def test_a_map_that_holds_an_unknown_is_a_change() -> None:
    prior = applied("Server", {"name": "web1", "labels": {"a": "1"}})

    plan = changed("Server", prior, {"name": "web1", "labels": {"a": UNKNOWN}})

    assert {"a": UNKNOWN} == plan.values["labels"]
    assert () == plan.replaces


@pytest.mark.parametrize(
    ("config", "moved"),
    [
        ({**IMAGE, "labels": {"a": "1"}}, set()),
        ({**IMAGE, "timeouts": {"create": "2h"}}, set()),
        ({"name": "web", "writable": {"source": "/b.img"}}, {"version", "digests", "size_bytes"}),
    ],
)
def test_only_what_a_change_moves_becomes_unknown(config: dict[str, Any], moved: set[str]) -> None:
    prior = applied("MasterImage", IMAGE, version=1, digests={}, size_bytes={})

    assert moved == unknowns(changed("MasterImage", prior, config))


def test_trouble_asks_for_an_update_that_nobody_wrote() -> None:
    prior = applied("ReplicaPool", POOL, trouble="no space left")

    assert {"trouble"} == unknowns(changed("ReplicaPool", prior, POOL))


@pytest.mark.parametrize(
    ("config", "replaces"),
    [
        ({**ATTACHMENT, "pool": UNKNOWN}, ("pool",)),
        ({**ATTACHMENT, "server": "web2"}, ("server",)),
        ({"name": "a", "pool": "web", "inline_server": {"name": "w"}}, ("server", "inline_server")),
        ({**ATTACHMENT, "system_user": {"name": "x", "kind": "customer"}}, ("system_user",)),
        ({**ATTACHMENT, "force_detach": True}, ()),
        ({**ATTACHMENT, "chap": {"mode": "none"}}, ()),
    ],
)
def test_what_forces_a_new_one(config: dict[str, Any], replaces: tuple[str, ...]) -> None:
    prior = applied("ServerStorageAttachment", ATTACHMENT, volume="v", server_name="web1")

    assert replaces == changed("ServerStorageAttachment", prior, config).replaces


def test_a_write_only_value_is_never_planned() -> None:
    chap = {"mode": "given", "username": "u", "secret": "sesame-sesame", "secret_version": 1}
    plan = created("ServerStorageAttachment", {**ATTACHMENT, "chap": chap})

    assert {"mode": "given", "username": "u", "secret": None, "secret_version": 1} == plan["chap"]


@pytest.mark.parametrize("code", [0, 12, 99])
def test_any_extension_on_the_wire_is_an_unknown(code: int) -> None:
    """Terraform refines unknown values ("not null", a prefix) under other codes."""
    value = pb.DynamicValue(msgpack=msgpack.packb({"a": msgpack.ExtType(code, b"\x81\x01\xc2")}))

    assert {"a": UNKNOWN} == read_value(value)
    assert {"a": UNKNOWN} == read_value(write_value({"a": UNKNOWN}))


@pytest.mark.parametrize("managed", RESOURCES, ids=lambda managed: managed.type_name)
def test_every_input_of_the_declaration_is_shown(managed: Managed) -> None:
    """The faces differ in what they need besides, never in what they have."""
    shown = {field.name for field in managed.shown.inputs}
    declared = {field.name for field in managed.declared.inputs}

    assert declared <= shown
    assert shown - declared <= {"timeouts"}
    outputs = {field.name for field in managed.shown.outputs}
    assert {field.name for field in managed.declared.outputs} - outputs <= {"server", "chap_secret"}
