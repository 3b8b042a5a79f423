"""Check, Diff and previews over the wire: none of them needs an engine, and there is none."""

from __future__ import annotations

import pytest
from pulumi.runtime.proto import provider_pb2

from tests.plugin.harness import UNKNOWN, Plugin, secret, struct, urn, values

Kind = provider_pb2.PropertyDiff
Naming = provider_pb2.CheckRequest.AutonamingOptions
POOL = {"name": "web", "masterImage": "base"}
IMAGE = {"name": "web", "writable": {"source": "/images/web.raw"}}
ATTACHMENT = {"name": "a1", "pool": "web", "server": "web1"}


@pytest.fixture(autouse=True)
def configured(plugin: Plugin) -> None:
    plugin.configure(endpoint="unix:///nowhere/engine.sock")


def failures(plugin: Plugin, kind: str, news: dict[str, object]) -> dict[str, str]:
    return {found.property: found.reason for found in plugin.check(kind, news).failures}


def test_what_is_wrong_is_said_by_the_property_as_it_is_written(plugin: Plugin) -> None:
    pool = {**POOL, "minReady": -1, "min_ready": 2, "scrub": {"treshold": 3, "onLowSpace": 1}}

    assert {
        "minReady": "-1 is less than 0",
        "min_ready": "is not known here; did you mean minReady?",
        "scrub.treshold": "is not known here; did you mean threshold?",
        "scrub.onLowSpace": "must be true or false, not 1",
    } == failures(plugin, "ReplicaPool", pool)
    assert (
        "3 is more than maxReplicas, 2"
        == (failures(plugin, "ReplicaPool", {**POOL, "minReady": 3, "maxReplicas": 2})["minReady"])
    )
    files = [{"portion": "writable", "path": "/a", "content": "x", "mode": "9"}]
    assert {"preconfigure[0].mode": "'9' is not a mode; write octal, such as 0644"} == failures(
        plugin, "MasterImage", {**IMAGE, "preconfigure": files}
    )


def test_defaults_are_filled_in_and_free_keys_left_alone(plugin: Plugin) -> None:
    checked = plugin.checked("MasterImage", {**IMAGE, "labels": {"os_family": "debian"}})

    assert "default" == checked["storage"]
    assert {"os_family": "debian"} == checked["labels"]
    assert {"source": "/images/web.raw", "format": "auto"} == checked["writable"]
    assert 1 == plugin.checked("ReplicaPool", POOL)["waitForReady"]


def test_unknown_values_pass_every_check(plugin: Plugin) -> None:
    given = {
        "name": UNKNOWN,
        "pool": UNKNOWN,
        "inlineServer": {"name": "web1", "initiator": UNKNOWN},
        "systemUser": UNKNOWN,
        "chap": {"mode": UNKNOWN},
    }
    checked = plugin.checked("ServerStorageAttachment", given)

    assert given.items() <= checked.items()
    planned = plugin.create("ServerStorageAttachment", checked, preview=True)
    assert UNKNOWN == values(planned.properties)["volume"]


@pytest.mark.parametrize(
    ("naming", "expected"),
    [
        (Naming(proposed_name="web-1a2b3c4"), "web-1a2b3c4"),
        (Naming(proposed_name="Web Pool-1a2b3c4"), "web-pool-1a2b3c4"),
        (Naming(proposed_name="w" * 80 + "-1a2b3c4"), "w" * 55 + "-1a2b3c4"),
        (Naming(proposed_name="web", mode=Naming.ENFORCE), "web"),
    ],
)
def test_a_name_that_is_left_out_is_pulumi_s_made_to_fit(
    plugin: Plugin, naming: Naming, expected: str
) -> None:
    answer = plugin.check("ReplicaPool", {"masterImage": "base"}, autonaming=naming)

    assert not answer.failures
    assert expected == values(answer.inputs)["name"]


def test_a_name_once_made_is_kept_and_none_is_made_where_none_is_wanted(plugin: Plugin) -> None:
    unnamed = {"masterImage": "base"}
    again = plugin.check(
        "ReplicaPool",
        unnamed,
        olds=struct({**unnamed, "name": "web-0000000"}),
        autonaming=Naming(proposed_name="web-1111111"),
    )
    disabled = plugin.check("ReplicaPool", unnamed, autonaming=Naming(mode=Naming.DISABLE))
    enforced = plugin.check(
        "ReplicaPool", unnamed, autonaming=Naming(proposed_name="Web!", mode=Naming.ENFORCE)
    )
    older = plugin.check("ReplicaPool", unnamed, randomSeed=b"seed")

    assert "web-0000000" == values(again.inputs)["name"]
    assert [("name", "is required")] == [(f.property, f.reason) for f in disabled.failures]
    assert ["name"] == [failure.property for failure in enforced.failures]
    assert values(older.inputs)["name"].startswith("web-")


def test_a_secret_by_declaration_comes_back_as_one(plugin: Plugin) -> None:
    account = {"mode": "given", "username": "web1", "secret": secret("open sesame!")}

    checked = plugin.checked("ServerStorageAttachment", {**ATTACHMENT, "chap": account})

    assert account == checked["chap"]


def test_a_detailed_diff_names_what_forces_a_replacement(plugin: Plugin) -> None:
    old = plugin.checked("ReplicaPool", {**POOL, "scrub": {"threshold": 3}, "imageVersion": 1})
    new = plugin.checked(
        "ReplicaPool", {**POOL, "scrub": {"threshold": 5}, "minReady": 2, "fabric": "local"}
    )

    found = plugin.diff("ReplicaPool", old, new)

    assert found.hasDetailedDiff
    assert found.deleteBeforeReplace
    assert ["fabric"] == list(found.replaces)
    assert {
        "fabric": Kind.UPDATE_REPLACE,
        "minReady": Kind.UPDATE,
        "scrub.threshold": Kind.UPDATE,
        "imageVersion": Kind.DELETE,
    } == {path: diff.kind for path, diff in found.detailedDiff.items()}


def test_a_change_in_place_replaces_nothing_and_another_spelling_is_none(plugin: Plugin) -> None:
    old = plugin.checked("MasterImage", {**IMAGE, "writable": {"source": "/a", "size": "1GiB"}})
    same = plugin.checked("MasterImage", {**IMAGE, "writable": {"source": "/a", "size": "1024MiB"}})
    grown = plugin.checked("MasterImage", {**IMAGE, "writable": {"source": "/a", "size": "2GiB"}})

    assert provider_pb2.DiffResponse.DIFF_NONE == plugin.diff("MasterImage", old, same).changes
    found = plugin.diff("MasterImage", old, grown)
    assert ["writable.size"] == list(found.detailedDiff)
    assert (False, []) == (found.deleteBeforeReplace, list(found.replaces))


def test_an_unknown_in_what_can_t_change_is_a_replacement(plugin: Plugin) -> None:
    old = plugin.checked("ReplicaPool", POOL)

    found = plugin.diff("ReplicaPool", old, {**old, "masterImage": UNKNOWN})

    assert Kind.UPDATE_REPLACE == found.detailedDiff["masterImage"].kind


def test_an_update_s_preview_keeps_what_the_change_can_t_move(plugin: Plugin) -> None:
    old = plugin.checked("MasterImage", IMAGE)
    state = {**old, "version": 4, "sizeBytes": {"writable": 2**20}}
    labelled = {**old, "labels": {"tier": "gold"}}
    changed = {**old, "writable": {"source": "/images/web-2.raw", "format": "auto"}}

    def planned(new: dict[str, object]) -> object:
        answer = plugin.update("MasterImage", "i", state, new, old_inputs=struct(old), preview=True)
        return values(answer.properties)["version"]

    assert (4, UNKNOWN) == (planned(labelled), planned(changed))


def test_an_attachment_s_server_is_known_in_the_preview_that_creates_it(plugin: Plugin) -> None:
    inputs = plugin.checked("ServerStorageAttachment", ATTACHMENT)

    planned = values(plugin.create("ServerStorageAttachment", inputs, preview=True).properties)

    assert "web1" == planned["server"]
    assert secret(UNKNOWN) == planned["chapSecret"]
    assert UNKNOWN == planned["connection"]


def test_a_type_that_is_not_ours_is_said(plugin: Plugin) -> None:
    request = provider_pb2.CheckRequest(urn=urn("Volume"), news=struct({}))

    with pytest.raises(Exception, match="Volume is no type of clonepool"):
        plugin.stub.Check(request)
