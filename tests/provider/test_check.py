"""Checking inputs: every failure has its path, defaults come in, unknowns pass."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import InvalidArgument
from clonepool.service import validate
from clonepool_resources import convert
from clonepool_resources.check import Checked, check
from clonepool_resources.declaration import resource
from clonepool_resources.types import Inputs


class Unknown:
    """An ecosystem's marker of what is not known yet."""


UNKNOWN = Unknown()
IMAGE = {"name": "web", "writable": {"source": "/images/web.raw"}}
POOL = {"name": "web", "master_image": "web"}
ATTACHMENT = {"name": "a1", "pool": "web", "server": "web1"}


def checked(kind: str, inputs: Inputs) -> Checked:
    return check(resource(kind), inputs, is_unknown=lambda value: isinstance(value, Unknown))


def failures(kind: str, inputs: Inputs) -> dict[str, str]:
    return {failure.field: failure.description for failure in checked(kind, inputs).failures}


def test_defaults_are_filled_in_at_every_depth() -> None:
    inputs = checked("ReplicaPool", {**POOL, "scrub": {"threshold": 3}}).inputs

    expected = {
        "threshold": 3,
        "method": "reformat",
        "then": "recycle",
        "on_low_space": True,
        "verify": "none",
        "undo_window": "0s",
        "assurance": "clear",
    }
    assert expected == inputs["scrub"]
    assert inputs["rollout"] == {"max_unavailable": 1}
    assert (inputs["min_ready"], inputs["max_replicas"]) == (1, 100)


def test_what_the_user_wrote_is_echoed_as_written() -> None:
    image = {**IMAGE, "writable": {"source": "/images/web.raw", "size": "1.5GiB"}}

    assert checked("MasterImage", image).inputs["writable"]["size"] == "1.5GiB"


def test_numbers_that_come_as_doubles_become_whole() -> None:
    inputs = checked("ReplicaPool", {**POOL, "min_ready": 3.0}).inputs

    assert (3, int) == (inputs["min_ready"], type(inputs["min_ready"]))


def test_all_failures_are_named_at_once_each_with_its_path() -> None:
    wrong = {
        **IMAGE,
        "name": "Web!",
        "system_user": {"name": "acme", "kind": "friend"},
        "writable": {"source": "images/web.raw", "size": "ten", "sha256": "beef"},
        "preconfigure": [
            {"portion": "read_only", "path": "/etc/hostname", "content": "x"},
            {"portion": "writable", "path": "etc", "content": "x", "mode": "9"},
        ],
        "labels": {"rack": 7},
    }

    expected = [
        "labels.rack",
        "name",
        "preconfigure[0].portion",
        "preconfigure[1].mode",
        "preconfigure[1].path",
        "system_user.kind",
        "writable.sha256",
        "writable.size",
        "writable.source",
    ]
    assert expected == sorted(failures("MasterImage", wrong))


@pytest.mark.parametrize(
    ("kind", "inputs", "field", "words"),
    [
        ("MasterImage", {"name": "web"}, "writable", "neither is there"),
        ("MasterImage", {**IMAGE, "writeable": {}}, "writeable", "did you mean writable?"),
        ("MasterImage", {**IMAGE, "labels": "rack"}, "labels", "must be a map"),
        (
            "MasterImage",
            {**IMAGE, "writable": {"source": "/a", "size": 13}},
            "writable.size",
            "must be a size with its unit",
        ),
        (
            "MasterImage",
            {**IMAGE, "writable": {"source": "/a", "size": "1000B"}},
            "writable.size",
            "not a multiple of 512",
        ),
        (
            "MasterImage",
            {**IMAGE, "preconfigure": [{"portion": "writable", "path": "/a"}]},
            "preconfigure[0]",
            "exactly one of",
        ),
        ("ReplicaPool", {"name": "web"}, "master_image", "is required"),
        ("ReplicaPool", {**POOL, "min_ready": 9, "max_replicas": 8}, "min_ready", "more than"),
        ("ReplicaPool", {**POOL, "wait_for_ready": 2}, "wait_for_ready", "never be reached"),
        (
            "ReplicaPool",
            {**POOL, "min_ready": 1, "scrub": {"on_low_stock": 2}},
            "scrub.on_low_stock",
            "2 is more than min_ready keeps in stock, 1",
        ),
        ("ReplicaPool", {**POOL, "min_ready": 1.5}, "min_ready", "must be a whole number"),
        ("ReplicaPool", {**POOL, "min_ready": True}, "min_ready", "must be a whole number"),
        ("ReplicaPool", {**POOL, "min_ready": -1}, "min_ready", "less than 0"),
        ("ReplicaPool", {**POOL, "scrub": {"threshold": 0}}, "scrub.threshold", "less than 1"),
        ("ReplicaPool", {**POOL, "clone_mode": "lazy"}, "clone_mode", "not one of auto, thin"),
        ("ReplicaPool", {**POOL, "max_replicas": 2**31}, "max_replicas", "more than 2147483647"),
        ("Server", {"name": "web1", "initiator": "web1"}, "initiator", "not an initiator name"),
        ("ServerStorageAttachment", {"name": "a", "pool": "p"}, "server", "none is there"),
        (
            "ServerStorageAttachment",
            {**ATTACHMENT, "server_selector": {"a": "b"}},
            "server_selector",
            "server and server_selector are there",
        ),
        (
            "ServerStorageAttachment",
            {"name": "a", "pool": "p", "server_selector": {}},
            "server_selector",
            "needs at least one label",
        ),
        (
            "ServerStorageAttachment",
            {**ATTACHMENT, "chap": {"mode": "given", "username": "u"}},
            "chap.secret",
            "is needed with mode given",
        ),
        (
            "ServerStorageAttachment",
            {**ATTACHMENT, "chap": {"username": "u"}},
            "chap.username",
            "goes with mode given",
        ),
        (
            "ServerStorageAttachment",
            {**ATTACHMENT, "timeouts": {"create": "soon"}},
            "timeouts.create",
            "is not a duration",
        ),
    ],
)
def test_a_wrong_input_is_refused_with_the_way_out(
    kind: str, inputs: Inputs, field: str, words: str
) -> None:
    found = failures(kind, inputs)

    assert [field] == list(found)
    assert words in found[field]


def test_a_secret_is_never_repeated_in_a_failure() -> None:
    chap = {"mode": "given", "username": "u", "secret": "sesame,open"}

    assert "sesame" not in str(failures("ServerStorageAttachment", {**ATTACHMENT, "chap": chap}))


@pytest.mark.parametrize("secret", [123456789012, 1.5, ["sesame123456"], {"sesame123456": 1}])
def test_a_secret_of_another_type_is_not_repeated_either(secret: Any) -> None:
    chap = {"mode": "given", "username": "u", "secret": secret}

    found = failures("ServerStorageAttachment", {**ATTACHMENT, "chap": chap})

    assert {"chap.secret": "must be a string"} == found


def test_an_empty_stock_is_not_waited_for() -> None:
    found = checked("ReplicaPool", {**POOL, "min_ready": 0})

    assert ((), 0) == (found.failures, found.inputs["wait_for_ready"])


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("MasterImage", {"name": UNKNOWN, "writable": UNKNOWN, "system_user": UNKNOWN}),
        ("MasterImage", {**IMAGE, "preconfigure": [UNKNOWN, {"portion": UNKNOWN, "path": "/a"}]}),
        ("MasterImage", {**IMAGE, "writable": {"source": UNKNOWN, "size": UNKNOWN}}),
        ("ReplicaPool", {**POOL, "min_ready": UNKNOWN, "scrub": {"method": UNKNOWN}}),
        ("ServerStorageAttachment", {"name": "a", "pool": UNKNOWN, "inline_server": UNKNOWN}),
        ("ServerStorageAttachment", {**ATTACHMENT, "chap": {"mode": UNKNOWN, "secret": UNKNOWN}}),
    ],
)
def test_what_is_not_known_yet_passes_at_any_depth(kind: str, inputs: Inputs) -> None:
    found = failures(kind, inputs)

    # a file that has neither content nor source is wrong whatever its portion turns out to be
    assert set(found) <= {"preconfigure[1]"}


WORDS = st.text(alphabet=string.ascii_letters + string.digits + "._-:,/ é\n", max_size=70)


@given(word=WORDS)
@pytest.mark.parametrize("field", ["name", "source", "format", "sha256", "user", "path"])
def test_an_image_that_check_lets_through_is_one_that_the_engine_takes(
    field: str, word: str
) -> None:
    inputs: dict[str, Any] = {"name": "web", "writable": {"source": "/images/web.raw"}}
    if field == "name":
        inputs["name"] = word
    elif field == "user":
        inputs["system_user"] = {"name": word, "kind": "customer"}
    elif field == "path":
        inputs["preconfigure"] = [{"portion": "writable", "path": "/" + word, "content": ""}]
    else:
        inputs["writable"] = {"source": "/images/web.raw", field: word}

    assert _engine_takes(inputs) >= (not failures("MasterImage", inputs))


@given(name=WORDS, initiator=WORDS | st.from_regex(r"iqn\.20\d\d-[01]\d\.[a-z.]{1,9}(:[a-z]*)?"))
def test_a_server_that_check_lets_through_is_one_that_the_engine_takes(
    name: str, initiator: str
) -> None:
    inputs = {"name": name, "initiator": initiator}
    if failures("Server", inputs):
        return

    spec = convert.server_spec(inputs)
    request = pb.CreateServerRequest(spec=spec, request_token="t")
    validate.create_server(request)


@given(labels=st.dictionaries(WORDS, WORDS | st.text(max_size=300), max_size=3))
def test_labels_that_check_lets_through_are_ones_that_the_engine_takes(
    labels: dict[str, str],
) -> None:
    if failures("Server", {"name": "web1", "labels": labels}):
        return

    spec = convert.server_spec({"name": "web1", "labels": labels})
    validate.create_server(pb.CreateServerRequest(spec=spec, request_token="t"))


def test_a_wrong_label_is_named_by_its_key() -> None:
    labels = {"a.b": "fine", " c": "fine", "d": "two\nlines"}

    assert {"labels. c", "labels.d"} == set(failures("Server", {"name": "w", "labels": labels}))


def _engine_takes(inputs: Inputs) -> bool:
    found = checked("MasterImage", inputs)
    spec = convert.image_spec({**inputs, **found.inputs})
    try:
        validate.create_image(pb.CreateImageRequest(spec=spec, request_token="t"))
    except InvalidArgument:
        return False
    return True


def test_a_window_is_refused_as_the_engine_would() -> None:
    """In the preview, by its place in the list."""
    scrub = {"windows": ["22:00-06:00", "at night", "mon-fri 22:00-06:00"]}
    (failure,) = checked("ReplicaPool", {**POOL, "scrub": scrub}).failures
    assert "scrub.windows[1]" == failure.field
    assert "write UTC times as 22:00-06:00" in failure.description


@pytest.mark.parametrize("source", ["etc/motd", "ftp://x/y", "/etc/motd ", "/" + "a" * 4095, ""])
@pytest.mark.parametrize("of", ["portion", "file"])
def test_a_source_that_the_engine_would_refuse_is_refused_by_check(of: str, source: str) -> None:
    """Of a portion as of a file that is written into it."""
    file = {"portion": "writable", "path": "/etc/motd", "source": source}
    inputs = (
        {**IMAGE, "preconfigure": [file]}
        if of == "file"
        else {**IMAGE, "writable": {"source": source}}
    )

    field = "preconfigure[0].source" if of == "file" else "writable.source"
    assert [field] == list(failures("MasterImage", inputs))
