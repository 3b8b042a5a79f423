"""What counts as a change, and what of it makes a new resource."""

from __future__ import annotations

from typing import Any

import pytest

from clonepool_resources.check import check
from clonepool_resources.declaration import resource
from clonepool_resources.diff import Difference, diff
from clonepool_resources.types import Inputs


class Unknown:
    """An ecosystem's marker of what is not known yet."""


def is_unknown(value: object) -> bool:
    return isinstance(value, Unknown)


IMAGE: dict[str, Any] = {
    "name": "web",
    "system_user": {"name": "acme", "kind": "customer"},
    "writable": {"source": "/images/web.raw", "size": "10GiB", "sha256": "ab" * 32},
    "preconfigure": [{"portion": "writable", "path": "/etc/hostname", "content": "web"}],
    "storage": "default",
    "labels": {"rack": "r1"},
}
POOL = {"name": "web", "master_image": "web", "min_ready": 3, "scrub": {"threshold": 5}}
ATTACHMENT = {"name": "a1", "pool": "web", "server": "web1", "chap": {"mode": "generated"}}


def changes(kind: str, old: Inputs, new: Inputs) -> Difference:
    return diff(resource(kind), old=old, new=new, is_unknown=is_unknown)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (
            "MasterImage",
            IMAGE,
            {**IMAGE, "writable": {**IMAGE["writable"], "size": "10240MiB", "sha256": "AB" * 32}},
        ),
        (
            "MasterImage",
            IMAGE,
            {**IMAGE, "preconfigure": [{**IMAGE["preconfigure"][0], "mode": "644"}]},
        ),
        ("MasterImage", {**IMAGE, "labels": {}}, {k: v for k, v in IMAGE.items() if k != "labels"}),
        ("ReplicaPool", POOL, {**POOL, "min_ready": 3.0, "scrub": {"threshold": 5.0}}),
        ("ReplicaPool", {**POOL, "rollout": {"max_unavailable": 1}}, POOL),
        (
            "Server",
            {"name": "web1", "initiator": "iqn.2026-01.com.example:web1"},
            {"name": "web1", "initiator": "IQN.2026-01.com.example:Web1"},
        ),
        (
            "ServerStorageAttachment",
            {**ATTACHMENT, "timeouts": {"create": "5m"}},
            {**ATTACHMENT, "timeouts": {"create": "300s"}},
        ),
    ],
)
def test_another_spelling_of_the_same_value_is_no_change(
    kind: str, old: Inputs, new: Inputs
) -> None:
    assert not changes(kind, old, new)


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        ("MasterImage", IMAGE, {**IMAGE, "name": "web2"}, ["name"]),
        ("MasterImage", IMAGE, {**IMAGE, "storage": "fast"}, ["storage"]),
        (
            "MasterImage",
            IMAGE,
            {**IMAGE, "system_user": {"name": "acme", "kind": "application"}},
            ["system_user.kind"],
        ),
        (
            "MasterImage",
            IMAGE,
            {k: v for k, v in IMAGE.items() if k != "system_user"},
            ["system_user"],
        ),
        ("MasterImage", IMAGE, {**IMAGE, "system_user": Unknown()}, ["system_user"]),
        ("ReplicaPool", POOL, {**POOL, "master_image": Unknown()}, ["master_image"]),
        ("ReplicaPool", POOL, {**POOL, "fabric": "local"}, ["fabric"]),
        ("Server", {"name": "web1"}, {"name": "web2"}, ["name"]),
        ("ServerStorageAttachment", ATTACHMENT, {**ATTACHMENT, "server": "web2"}, ["server"]),
        (
            "ServerStorageAttachment",
            {"name": "a", "pool": "p", "server_selector": {"rack": "r1"}},
            {"name": "a", "pool": "p", "server_selector": {"rack": Unknown()}},
            ["server_selector"],
        ),
        (
            "ServerStorageAttachment",
            {"name": "a", "pool": "p", "inline_server": {"name": "x", "initiator": "iqn.a"}},
            {"name": "a", "pool": "p", "inline_server": {"name": "y", "initiator": "iqn.a"}},
            ["inline_server.name"],
        ),
    ],
)
def test_what_only_a_new_resource_can_follow_is_named(
    kind: str, old: Inputs, new: Inputs, expected: list[str]
) -> None:
    assert expected == list(changes(kind, old, new).replaces)


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        (
            "MasterImage",
            IMAGE,
            {**IMAGE, "writable": {"source": "/images/web-2.raw"}, "labels": {"rack": "r2"}},
            ["writable.source", "writable.size", "writable.sha256", "labels"],
        ),
        ("MasterImage", IMAGE, {**IMAGE, "read_only": {"source": "/images/ro"}}, ["read_only"]),
        ("MasterImage", IMAGE, {**IMAGE, "preconfigure": [Unknown()]}, ["preconfigure"]),
        ("ReplicaPool", POOL, {**POOL, "min_ready": 4}, ["min_ready"]),
        ("ReplicaPool", POOL, {**POOL, "scrub": {"threshold": 6}}, ["scrub.threshold"]),
        ("ReplicaPool", POOL, {**POOL, "image_version": 1}, ["image_version"]),
        (
            "ServerStorageAttachment",
            ATTACHMENT,
            {**ATTACHMENT, "chap": {"mode": "none"}, "force_detach": True},
            ["chap.mode", "force_detach"],
        ),
        (
            "ServerStorageAttachment",
            {"name": "a", "pool": "p", "inline_server": {"name": "x", "initiator": "iqn.a"}},
            {"name": "a", "pool": "p", "inline_server": {"name": "x", "initiator": "iqn.b"}},
            ["inline_server.initiator"],
        ),
    ],
)
def test_everything_else_changes_in_place(
    kind: str, old: Inputs, new: Inputs, expected: list[str]
) -> None:
    found = changes(kind, old, new)

    assert (expected, ()) == (list(found.changed), found.replaces)


def test_the_server_that_the_engine_picked_is_no_change_of_the_server() -> None:
    """Pulumi hands in the old outputs, and `server` is one where a selector was given."""
    declared = {"name": "a", "pool": "p", "server_selector": {"rack": "r1"}}

    assert not changes("ServerStorageAttachment", {**declared, "server": "web7"}, declared)


def test_another_way_to_name_the_server_makes_a_new_attachment() -> None:
    old = {"name": "a", "pool": "p", "server": "web1"}
    new = {"name": "a", "pool": "p", "inline_server": {"name": "web1"}}

    assert ("inline_server",) == changes("ServerStorageAttachment", old, new).replaces
    assert "inline_server" in changes("ServerStorageAttachment", new, old).replaces


@pytest.mark.parametrize("kind", ["MasterImage", "ReplicaPool", "ServerStorageAttachment"])
def test_checked_inputs_do_not_differ_from_themselves(kind: str) -> None:
    inputs: dict[str, Inputs] = {
        "MasterImage": IMAGE,
        "ReplicaPool": POOL,
        "ServerStorageAttachment": ATTACHMENT,
    }
    checked = check(resource(kind), inputs[kind], is_unknown=is_unknown)

    assert not checked.failures
    assert not changes(kind, checked.inputs, checked.inputs)


def test_an_old_state_with_values_that_mean_nothing_now_is_a_change_not_a_crash() -> None:
    old = {**IMAGE, "writable": {"source": 7, "size": "huge"}, "preconfigure": "none"}

    assert changes("MasterImage", old, IMAGE).changed
