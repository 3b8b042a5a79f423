"""Inputs to messages and back: nothing is lost on the way, and spellings are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain import model
from clonepool.service import convert as engine_convert
from clonepool.service import specs
from clonepool_resources import convert
from clonepool_resources.check import check
from clonepool_resources.declaration import RESOURCES, resource
from clonepool_resources.types import Field, Inputs, Kind, ObjectType
from clonepool_resources.values import canonical, echo, write_size

IMAGE = {
    "name": "web",
    "system_user": {"name": "acme", "kind": "application"},
    "read_only": {"source": "https://example.com/base.qcow2", "format": "qcow2"},
    "writable": {"source": "/images/web.raw", "size": "1536MiB", "sha256": "AB" * 32},
    "preconfigure": [
        {"portion": "writable", "path": "/etc/hostname", "content": "web", "mode": "600"},
        {"portion": "read_only", "path": "/etc/motd", "source": "/images/motd"},
    ],
    "storage": "fast",
    "labels": {"tier": "gold"},
}
POOL = {
    "name": "web",
    "master_image": "web",
    "image_version": 2,
    "fabric": "local",
    "min_ready": 3,
    "max_replicas": 7,
    "clone_mode": "thin",
    "when_empty": "fail",
    "wait_for_ready": 0,
    "rollout": {"max_unavailable": 3},
    "scrub": {
        "threshold": 4,
        "method": "zero",
        "then": "destroy",
        "on_low_space": False,
        "max_age": "7d",
        "max_bytes": "2TiB",
        "on_low_stock": 2,
        "verify": "sample",
        "undo_window": "12h",
        "windows": ["mon-fri 22:00-06:00"],
        "assurance": "clear",
    },
}
ATTACHMENT = {
    "name": "a1",
    "pool": "web",
    "system_user": {"name": "acme", "kind": "customer"},
    "inline_server": {"name": "web1", "initiator": "IQN.2026-01.com.example:Web1"},
    "chap": {"mode": "given", "username": "web1", "secret": "open sesame!"},
    "force_detach": True,
    "timeouts": {"create": "90s"},
}


def _through_the_engine(kind: str, inputs: Inputs) -> dict[str, Any]:
    """Send it, let the engine take and give it back as it does, and read it again."""
    if kind == "MasterImage":
        image = specs.image(convert.image_spec(inputs))
        return convert.image_inputs(engine_convert._image_spec(image))
    if kind == "ReplicaPool":
        pool = specs.pool(convert.pool_spec(inputs))
        return convert.pool_inputs(engine_convert._pool_spec(pool))
    if kind == "Server":
        server = specs.server(convert.server_spec(inputs))
        return convert.server_inputs(engine_convert._server_spec(server))
    attachment = specs.attachment(convert.attachment_spec(inputs))
    return convert.attachment_inputs(engine_convert._attachment_spec(attachment))


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("MasterImage", IMAGE),
        ("MasterImage", {"name": "web", "writable": {"source": "/images/web.raw"}}),
        ("ReplicaPool", POOL),
        ("ReplicaPool", {"name": "web", "master_image": "web"}),
        (
            "Server",
            {"name": "web1", "initiator": "IQN.2026-01.com.example:w", "labels": {"a": "b"}},
        ),
        ("Server", {"name": "web1"}),
        ("ServerStorageAttachment", ATTACHMENT),
        ("ServerStorageAttachment", {"name": "a", "pool": "p", "server": "web1"}),
        ("ServerStorageAttachment", {"name": "a", "pool": "p", "server_selector": {"a": "b"}}),
    ],
)
@pytest.mark.parametrize("with_defaults", [True, False])
def test_what_comes_back_reads_as_it_was_written(
    kind: str, inputs: Inputs, with_defaults: bool
) -> None:
    """The engine fills in defaults and normalises; none of that may look like drift."""
    checked = check(resource(kind), inputs, is_unknown=lambda _: False)
    assert not checked.failures
    written = checked.inputs if with_defaults else inputs

    live = _through_the_engine(kind, checked.inputs)

    assert written == echo(live, written, resource(kind).inputs)


def test_what_really_changed_shows_as_the_engine_has_it() -> None:
    prior = {**POOL, "scrub": {**POOL["scrub"], "threshold": 4.0}}  # type: ignore[dict-item]
    spec = convert.pool_spec(POOL)
    spec.min_ready, spec.scrub.threshold = 5, 9

    seen = echo(convert.pool_inputs(spec), prior, resource("ReplicaPool").inputs)

    assert {**POOL, "min_ready": 5, "scrub": {**POOL["scrub"], "threshold": 9}} == seen  # type: ignore[dict-item]


def test_a_size_that_changed_is_written_exactly() -> None:
    spec = convert.image_spec({"name": "w", "writable": {"source": "/a", "size": "1GiB"}})
    spec.writable.size_bytes += 512

    assert "1073742336B" == convert.image_inputs(spec)["writable"]["size"]


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_a_written_size_reads_back_to_the_byte(size_bytes: int) -> None:
    inputs = {"name": "w", "writable": {"source": "/a", "size": write_size(size_bytes)}}

    assert size_bytes == convert.image_spec(inputs).writable.size_bytes


def test_a_given_secret_is_sent_and_stays_in_the_inputs() -> None:
    spec = convert.attachment_spec(ATTACHMENT)
    assert "open sesame!" == spec.chap.secret
    spec.chap.secret = ""

    seen = echo(
        convert.attachment_inputs(spec), ATTACHMENT, resource("ServerStorageAttachment").inputs
    )

    assert ATTACHMENT["chap"] == seen["chap"]


def test_an_attachment_that_waits_has_no_connection_and_no_server_of_its_own() -> None:
    outputs = convert.attachment_outputs(pb.Attachment(id="a", state="waiting"))

    assert {"warm": False, "chap_username": "", "chap_secret": ""} == outputs


# what a user may set, by where the domain model keeps it
DOMAIN = {
    "MasterImage": model.ImageSpec(name="w"),
    "ReplicaPool": model.PoolSpec(name="w", master_image="w"),
    "Server": model.ServerSpec(name="w"),
    "ServerStorageAttachment": model.AttachmentSpec(name="w", pool="p"),
}


def _leaves(fields: tuple[Field, ...], path: str = "") -> dict[str, Field]:
    found: dict[str, Field] = {}
    for field in fields:
        here = f"{path}{field.name}"
        if isinstance(field.type, ObjectType) and field.default == {}:
            found.update(_leaves(field.type.fields, f"{here}."))
        else:
            found[here] = field
    return found


@pytest.mark.parametrize("kind", [declared.name for declared in RESOURCES])
def test_the_declared_defaults_are_the_engine_s_own(kind: str) -> None:
    domain = DOMAIN[kind]
    for path, field in _leaves(resource(kind).inputs).items():
        if field.default is None:
            continue
        value: Any = domain
        # the one field that the domain keeps flat
        kept = path.removeprefix("rollout.") + ("_s" if field.type is Kind.DURATION else "")
        for part in kept.split("."):
            value = getattr(value, part)
        assert canonical(field.default, field.type) == value, path


def test_a_portion_s_and_a_file_s_defaults_are_the_engine_s_own() -> None:
    written = {"name": "w", "writable": {"source": "/a"}}
    file = {"portion": "writable", "path": "/a", "content": ""}
    checked = check(
        resource("MasterImage"), {**written, "preconfigure": [file]}, is_unknown=lambda _: False
    )
    spec = specs.image(convert.image_spec(checked.inputs))

    assert model.PortionSpec(source="/a") == spec.writable
    assert "0644" == checked.inputs["preconfigure"][0]["mode"]
    assert 0o644 == spec.preconfigure[0].mode
