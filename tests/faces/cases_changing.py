"""What an apply does to what is there: in place, or by a new one in its place."""

from __future__ import annotations

from typing import Any

from tests.faces.bench import Bench, actions
from tests.faces.differences import Difference
from tests.faces.model import Declared, Face
from tests.faces.table import Case, Outcome
from tests.support.site import is_refused, log_in


def _in_place(bench: Bench, before: Declared, after: Declared, noun: str) -> dict[str, Any]:
    """Apply one, then the other: the plan between, and whether the object stayed the same."""
    bench.stack.apply([before])
    first = dict(bench.stack.ids())
    plan = actions(bench.stack.plan([after]))
    bench.stack.apply([after])
    return {
        "plan": plan,
        "same object": first == dict(bench.stack.ids()),
        "second plan": actions(bench.stack.plan([after])),
        "spec": bench.spec(noun, after.inputs["name"]),
    }


def _min_ready(bench: Bench) -> Outcome:
    found = _in_place(bench, bench.pool(), bench.pool(min_ready=2), "Pool")
    return {**found, "spec": found["spec"].min_ready}


def _threshold(bench: Bench) -> Outcome:
    found = _in_place(bench, bench.pool(), bench.pool(scrub={"threshold": 4}), "Pool")
    return {**found, "spec": found["spec"].scrub.threshold}


def _labels(bench: Bench) -> Outcome:
    before, after = {"rack": "r1", "row": "7"}, {"rack": "r2", "team": "web"}
    found = _in_place(bench, bench.server(labels=before), bench.server(labels=after), "Server")
    return {**found, "spec": dict(found["spec"].labels)}


def _image_labels(bench: Bench) -> Outcome:
    bench.stack.apply([bench.image(labels={"os": "a"})])
    after = [bench.image(labels={"os": "b"})]
    plan = actions(bench.stack.plan(after))
    bench.stack.apply(after)
    return {"plan": plan, "version": bench.stack.outputs("image")["version"]}


def _content(bench: Bench) -> Outcome:
    bench.stack.apply([bench.image()])
    ids = dict(bench.stack.ids())
    after = [bench.image(writable={"source": str(bench.stock.source), "size": "16MiB"})]
    plan = actions(bench.stack.plan(after))
    bench.stack.apply(after)
    outputs = bench.stack.outputs("image")
    return {
        "plan": plan,
        "same object": ids == dict(bench.stack.ids()),
        "version": outputs["version"],
        "size": outputs["size_bytes"]["writable"],
    }


def _force_detach(bench: Bench) -> Outcome:
    before = bench.attachment(pool=bench.stocked_pool())
    bench.stack.apply([before])
    volume = bench.stack.outputs("storage")["volume"]
    after = before.but(force_detach=True)
    plan = actions(bench.stack.plan([after]))
    bench.stack.apply([after])
    return {
        "plan": plan,
        "engine": bench.spec("Attachment", before.inputs["name"]).force_detach,
        "same volume": volume == bench.stack.outputs("storage")["volume"],
    }


def _initiator(bench: Bench) -> Outcome:
    """The server is logged out; the volume is granted to its new name and to no other."""
    pool = bench.stocked_pool(fabric="iscsi")
    old, new = (f"iqn.2026-01.test.clonepool:{bench.prefix}-{word}" for word in ("a", "b"))
    server = bench.server(initiator=old)
    storage = bench.attachment(pool=pool, server=server.inputs["name"])
    bench.stack.apply([server, storage])
    before = bench.account("storage")
    after = [server.but(initiator=new), storage]
    plan = actions(bench.stack.plan(after))
    bench.stack.apply(after)
    now = bench.account("storage")
    with log_in(now, as_server=f"{bench.prefix}-b") as session:
        opens = session.is_alive()
    return {
        "plan": plan,
        "same volume": before.volume_id == now.volume_id,
        "new name opens": opens,
        "old name opens": not is_refused(now, as_server=f"{bench.prefix}-a"),
    }


def _chap(bench: Bench) -> Outcome:
    """Another account: the old one opens nothing any more."""
    pool = bench.stocked_pool(fabric="iscsi")
    first, second = (
        {"mode": "given", "username": "web", "secret": f"{word}-of-the-secrets"}
        for word in ("first", "second")
    )
    before = bench.attachment(pool=pool, chap=bench.versioned(first, 1), inline_server=bench.host())
    bench.stack.apply([before])
    old = bench.account("storage")
    after = before.but(chap=bench.versioned(second, 2))
    plan = actions(bench.stack.plan([after]))
    bench.stack.apply([after])
    now = bench.account("storage")
    with log_in(now) as session:
        opens = session.is_alive()
    return {
        "plan": plan,
        "same volume": old.volume_id == now.volume_id,
        "secret": now.chap_secret,
        "new account opens": opens,
        "old account opens": not is_refused(old),
    }


def _unversioned_secret(bench: Bench) -> Outcome:
    """The secret alone is another one; nothing else says so."""
    account = {"mode": "given", "username": "web", "secret": "first-of-the-secrets"}
    pool = bench.stocked_pool(fabric="iscsi")
    before = bench.attachment(pool=pool, chap=account, inline_server=bench.host())
    bench.stack.apply([before])
    after = before.but(chap={**account, "secret": "second-of-the-secrets"})
    return {"plan": actions(bench.stack.plan([after]))}


def _replaced(bench: Bench, before: Declared, after: Declared) -> Outcome:
    """A live attachment of one volume becomes one of another; nothing else goes."""
    other = bench.attachment("bystander", pool=before.inputs["pool"])
    bench.stack.apply([other, before])
    volume, kept = (bench.stack.outputs(label)["volume"] for label in ("storage", "bystander"))
    planned = bench.stack.plan([other, after])
    bench.stack.apply([other, after])
    attached = bench.attached(after.inputs["pool"])
    bystanders = bench.attached(before.inputs["pool"])
    return {
        "plan": {label: list(each.replaces) for label, each in planned.items() if each.replaces},
        "another volume": volume
        != attached.get(after.inputs["name"].removeprefix(f"{bench.prefix}-"), volume),
        "old volume": bench.site.volume(volume).state,
        "bystander": kept == bystanders.get("bystander"),
        "events": bench.events("attachment"),
        "second plan": actions(bench.stack.plan([other, after])),
    }


def _replaced_name(bench: Bench) -> Outcome:
    before = bench.attachment(pool=bench.stocked_pool(ready=2))
    return _replaced(bench, before, before.but(name=bench.name("renamed")))


def _replaced_pool(bench: Bench) -> Outcome:
    before = bench.attachment(pool=bench.stocked_pool(ready=2))
    return _replaced(bench, before, before.but(pool=bench.stocked_pool()))


def _replaced_server(bench: Bench) -> Outcome:
    before = bench.attachment(pool=bench.stocked_pool(ready=2))
    return _replaced(bench, before, before.but(inline_server={"name": bench.name("other")}))


def _replaced_system_user(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(shared=True, ready=2)
    users = [{"name": name, "kind": "customer"} for name in ("acme", "globex")]
    before = bench.attachment(pool=pool, system_user=users[0])
    other = bench.attachment("bystander", pool=pool, system_user=users[0])
    bench.stack.apply([other, before])
    volume = bench.stack.outputs("storage")["volume"]
    after = [other, before.but(system_user=users[1])]
    planned = bench.stack.plan(after)["storage"]
    bench.stack.apply(after)
    return {
        "replaces": list(planned.replaces),
        "another volume": volume != bench.stack.outputs("storage")["volume"],
        "old volume": bench.site.volume(volume).state,
    }


def _other_way_to_the_server(bench: Bench) -> Outcome:
    """`server` in the place of `inline_server` is another server, even where it has that name."""
    pool, server = bench.stocked_pool(), bench.server()
    storage = bench.attachment(pool=pool)
    bench.stack.apply([server, storage])
    after = storage.but(inline_server=None, server=server.inputs["name"])
    planned = bench.stack.plan([server, after])["storage"]
    return {"action": planned.action, "replaces": sorted(planned.replaces)}


def _pool_s_fabric(bench: Bench) -> Outcome:
    bench.stack.apply([bench.pool()])
    planned = bench.stack.plan([bench.pool(fabric="iscsi")])["pool"]
    return {"action": planned.action, "replaces": list(planned.replaces)}


_CHANGED = {"same object": True, "second plan": {}}
_REPLACED = {
    "another volume": True,
    "old volume": "released",
    "bystander": True,
    "events": ["ATTACHED", "ATTACHED", "RELEASED", "ATTACHED"],
    "second plan": {},
}
CASES = (
    Case(
        name="a pool's stock is changed in place",
        play=_min_ready,
        expect={**_CHANGED, "plan": {"pool": "update"}, "spec": 2},
    ),
    Case(
        name="a pool's threshold is changed in place",
        play=_threshold,
        expect={**_CHANGED, "plan": {"pool": "update"}, "spec": 4},
    ),
    Case(
        name="labels are changed, added and removed in place",
        play=_labels,
        expect={
            **_CHANGED,
            "plan": {"server": "update"},
            "spec": {"rack": "r2", "team": "web"},
        },
    ),
    Case(
        name="labels of an image make no new version",
        play=_image_labels,
        expect={"plan": {"image": "update"}, "version": 1},
    ),
    Case(
        name="new content is a new version in place",
        play=_content,
        expect={
            "plan": {"image": "update"},
            "same object": True,
            "version": 2,
            "size": 16 * 2**20,
        },
    ),
    Case(
        name="force_detach is changed in place",
        play=_force_detach,
        expect={"plan": {"storage": "update"}, "engine": True, "same volume": True},
    ),
    Case(
        name="another initiator of a server that is logged out is granted in place",
        play=_initiator,
        expect={
            "plan": {"server": "update"},
            "same volume": True,
            "new name opens": True,
            "old name opens": False,
        },
        marks=("tgt",),
    ),
    Case(
        name="another CHAP account takes the place of the old one on the same volume",
        play=_chap,
        expect={
            "plan": {"storage": "update"},
            "same volume": True,
            "secret": "second-of-the-secrets",
            "new account opens": True,
            "old account opens": False,
        },
        marks=("tgt",),
    ),
    Case(
        name="another secret alone is an update",
        play=_unversioned_secret,
        expect={"plan": {"storage": "update"}},
        differs={Difference.GIVEN_SECRET: {Face.TERRAFORM: {"plan": {}}}},
        marks=("tgt",),
    ),
    Case(
        name="an attachment of another name is another one",
        play=_replaced_name,
        expect={**_REPLACED, "plan": {"storage": ["name"]}},
    ),
    Case(
        name="an attachment to another pool is another one",
        play=_replaced_pool,
        expect={**_REPLACED, "plan": {"storage": ["pool"]}},
    ),
    Case(
        name="an attachment of another server is another one",
        play=_replaced_server,
        expect={**_REPLACED, "plan": {"storage": ["inline_server.name"]}},
    ),
    Case(
        name="an attachment for another system user is another one",
        play=_replaced_system_user,
        expect={
            "replaces": ["system_user.name"],
            "another volume": True,
            "old volume": "released",
        },
    ),
    Case(
        name="another way to name the server is a replacement",
        play=_other_way_to_the_server,
        expect={"action": "replace", "replaces": ["inline_server", "server"]},
    ),
    Case(
        name="a pool on another fabric is another pool",
        play=_pool_s_fabric,
        expect={"action": "replace", "replaces": ["fabric"]},
    ),
)
