"""What the engine says no to, in one line that names the thing and the way out."""

from __future__ import annotations

from tests.faces.bench import Bench, actions, refusal
from tests.faces.differences import Difference
from tests.faces.model import AWAY, Face
from tests.faces.stack import at_once
from tests.faces.table import Case, Outcome
from tests.support.site import log_in
from tests.support.waiting import wait_for


def _taken(bench: Bench) -> Outcome:
    theirs = bench.made_server()
    mine = [bench.server(name=theirs.spec.name)]
    refused = refusal(lambda: bench.stack.apply(mine))
    return {
        "unsaid": refused.lacks(theirs.spec.name, "exists", theirs.id),
        "import command": any(
            f"{tool} import" in refused.text and theirs.id in refused.text.split(" import ")[1]
            for tool in ("pulumi", "terraform")
        ),
        "kept": dict(bench.stack.ids()),
        "theirs": bench.is_there("Server", theirs.spec.name),
    }


def _gone(bench: Bench) -> Outcome:
    bench.stack.apply([bench.server()])
    found = bench.stack.ids()["server"]
    bench.delete("Server", found)
    bench.stack.destroy()
    return {"kept": dict(bench.stack.ids())}


def _gone_attachment(bench: Bench) -> Outcome:
    bench.stack.apply([bench.attachment(pool=bench.stocked_pool())])
    bench.site.release(bench.account("storage"))
    bench.stack.destroy()
    return {"kept": dict(bench.stack.ids())}


def _pool_in_use(bench: Bench) -> Outcome:
    bench.stack.apply([bench.pool(min_ready=1)])
    holder = bench.made_attachment(bench.name("pool"))
    refused = refusal(bench.stack.destroy)
    kept = list(bench.stack.ids())
    bench.site.release(holder)
    bench.stack.destroy()
    return {
        "unsaid": refused.lacks(f"pool {bench.name('pool')} has attachments", bench.name("held")),
        "kept": kept,
        "after the release": list(bench.stack.ids()),
    }


def _image_in_use(bench: Bench) -> Outcome:
    image = bench.image()
    pool = bench.pool(master_image=image.inputs["name"])
    bench.stack.apply([image])
    other = bench.another_stack()
    other.apply([pool])
    refused = refusal(bench.stack.destroy)
    kept = list(bench.stack.ids())
    other.destroy()
    return {"unsaid": refused.lacks(bench.name("image"), bench.name("pool")), "kept": kept}


def _server_of_another(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(shared=True, ready=2)
    server = bench.made_server()
    user = {"name": "acme", "kind": "customer"}
    first = bench.attachment("first", pool=pool, server=server.spec.name, system_user=user)
    bench.stack.apply([first])
    second = bench.attachment(
        "second",
        pool=pool,
        server=server.spec.name,
        system_user={"name": "globex", "kind": "customer"},
    )
    refused = refusal(lambda: bench.another_stack().apply([second]))
    return {
        "unsaid": refused.lacks(f"server {server.spec.name}", "acme"),
        "attached": list(bench.attached(pool)),
    }


def _no_system_user(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(shared=True)
    refused = refusal(lambda: bench.stack.apply([bench.attachment(pool=pool)]))
    return {
        "unsaid": refused.lacks("system_user"),
        "kept": dict(bench.stack.ids()),
        "attached": dict(bench.attached(pool)),
    }


def _another_s_image(bench: Bench) -> Outcome:
    other = {"name": "globex", "kind": "customer"}
    declared = bench.attachment(pool=bench.stocked_pool(), system_user=other)
    refused = refusal(lambda: bench.stack.apply([declared]))
    return {"unsaid": refused.lacks("acme"), "kept": dict(bench.stack.ids())}


def _no_such_pool(bench: Bench) -> Outcome:
    refused = refusal(lambda: bench.stack.apply([bench.attachment(pool="no-such-pool")]))
    return {"unsaid": refused.lacks("no-such-pool"), "kept": dict(bench.stack.ids())}


def _empty(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(ready=0, when_empty="fail", max_replicas=1)
    refused = refusal(lambda: bench.stack.apply([bench.attachment(pool=pool)]))
    return {
        "unsaid": refused.lacks(f"pool {pool}", "no ready replica"),
        "kept": dict(bench.stack.ids()),
        "queue": bench.site.counts(pool).waiting,
    }


def _waited_in_vain(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(max_replicas=1)
    bench.made_attachment(pool)
    declared = bench.attachment(pool=pool, timeouts={"create": "1s"})
    refused = refusal(lambda: bench.stack.apply([declared]))
    return {
        "unsaid": refused.lacks("has no storage after 1s", "max_replicas", f"scrub run {pool}"),
        "kept": dict(bench.stack.ids()),
        "queue": bench.site.counts(pool).waiting,
    }


def _race_for_the_last(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(when_empty="fail", max_replicas=1)
    users = [(bench.another_stack(), bench.attachment(word, pool=pool)) for word in "ab"]
    told = at_once(*(lambda s=stack, d=declared: s.apply([d]) for stack, declared in users))
    lost = [refused for refused in told if refused is not None]
    return {
        "won": told.count(None),
        "unsaid": [refused.lacks("no ready replica") for refused in lost],
        "kept": sum(len(stack.ids()) for stack, _ in users),
        "attached": len(bench.attached(pool)),
        "queue": bench.site.counts(pool).waiting,
    }


def _race_with_a_queue(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(max_replicas=2)
    users = [(bench.another_stack(), bench.attachment(word, pool=pool)) for word in "ab"]
    told = at_once(*(lambda s=stack, d=declared: s.apply([d]) for stack, declared in users))
    attached = bench.attached(pool)
    return {
        "won": told.count(None),
        "attached": sorted(attached),
        "volumes": len(set(attached.values())),
        "queue": bench.site.counts(pool).waiting,
    }


def _moved_to_another_user(bench: Bench) -> Outcome:
    """One user gives a server back while another waits for the last replica."""
    pool = bench.stocked_pool(max_replicas=1, scrub={"threshold": 1})
    first, second = bench.stack, bench.another_stack()
    first.apply([bench.attachment("first", pool=pool)])
    volume = first.outputs("first")["volume"]
    waiting = second.begin([bench.attachment("second", pool=pool)])
    wait_for(lambda: bench.site.counts(pool).waiting == 1, what="the queue")
    first.destroy()
    waiting.wait()
    return {
        "attached": list(bench.attached(pool)),
        "scrubbed in between": [record.volume_id == volume for record in bench.site.records(pool)],
    }


def _race_for_a_name(bench: Bench) -> Outcome:
    users = [bench.another_stack(), bench.another_stack()]
    mine = bench.server()
    told = at_once(*(lambda s=stack: s.apply([mine]) for stack in users))
    lost = [refused for refused in told if refused is not None]
    return {
        "won": told.count(None),
        "unsaid": [refused.lacks(mine.inputs["name"], "exists") for refused in lost],
        "kept": sum(len(stack.ids()) for stack in users),
    }


def _busy(bench: Bench) -> Outcome:
    """A server that is logged in keeps its volume until the program says otherwise."""
    pool = bench.stocked_pool(fabric="iscsi")
    plain = bench.attachment(pool=pool, inline_server=bench.host())
    bench.stack.apply([plain])
    with log_in(bench.account("storage")) as session:
        refused = refusal(bench.stack.destroy)
        alive, kept = session.is_alive(), list(bench.stack.ids())
        bench.stack.apply([plain.but(force_detach=True)])
        bench.stack.destroy()
    return {
        "unsaid": refused.lacks(bench.name("host"), "log it out", "force_detach"),
        "session": alive,
        "kept": kept,
        "left": list(bench.attached(pool)),
    }


def _picked(bench: Bench) -> Outcome:
    """The server that was picked is told, and is no change of what was asked for."""
    labels = {"rack": bench.prefix}
    server = bench.made_server(labels=labels)
    program = [bench.attachment(pool=bench.stocked_pool(), server_selector=labels)]
    bench.stack.apply(program)
    bench.stack.refresh()
    return {
        "picked": bench.stack.outputs("storage")["server"] == server.spec.name,
        "next plan": actions(bench.stack.plan(program)),
    }


def _away_in_a_plan(bench: Bench) -> Outcome:
    """Neither what is new nor what is there needs the engine to be planned."""
    server = bench.server()
    bench.stack.apply([server])
    bench.stack.reach(AWAY)
    program = [server.but(labels={"a": "b"}), bench.pool()]
    return {"plan": actions(bench.stack.plan(program)), "same": actions(bench.stack.plan([server]))}


def _first_node_away(bench: Bench) -> Outcome:
    server = bench.server()
    bench.stack.reach(f"{AWAY},{bench.site.engine.endpoint}")
    bench.stack.apply([server])
    return {
        "made": list(bench.stack.ids()),
        "next plan": actions(bench.stack.plan([server])),
        "change": actions(bench.stack.plan([server.but(labels={"a": "b"})])),
    }


def _every_node_away(bench: Bench) -> Outcome:
    bench.stack.reach(f"{AWAY},{AWAY}2")
    refused = refusal(lambda: bench.stack.apply([bench.server()]))
    return {"unsaid": refused.lacks(f"no engine answers at {AWAY}, {AWAY}2")}


def _away_in_an_apply(bench: Bench) -> Outcome:
    server = bench.server()
    bench.stack.apply([server])
    kept = dict(bench.stack.ids())
    bench.stack.reach(AWAY)
    refused = refusal(lambda: bench.stack.apply([server.but(labels={"a": "b"})]))
    return {
        "unsaid": refused.lacks(f"no engine answers at {AWAY}"),
        "way out": bool(refused.says("clonepool serve", "CLONEPOOL_ENDPOINT")),
        "kept": kept == dict(bench.stack.ids()),
    }


CASES = (
    Case(
        name="a name that somebody else has is refused and never adopted",
        play=_taken,
        expect={"unsaid": [], "import command": True, "kept": {}, "theirs": True},
        differs={Difference.IMPORT: {Face.DYNAMIC: {"import command": False}}},
    ),
    Case(name="deleting what is gone succeeds", play=_gone, expect={"kept": {}}),
    Case(name="releasing what is released succeeds", play=_gone_attachment, expect={"kept": {}}),
    Case(
        name="a pool that is in use is kept until its attachments are released",
        play=_pool_in_use,
        expect={"unsaid": [], "kept": ["pool"], "after the release": []},
    ),
    Case(
        name="an image that is in use is kept and what uses it is named",
        play=_image_in_use,
        expect={"unsaid": [], "kept": ["image"]},
    ),
    Case(
        name="a server of another system user is refused",
        play=_server_of_another,
        expect={"unsaid": [], "attached": ["first"]},
    ),
    Case(
        name="a shared image without a system user is refused",
        play=_no_system_user,
        expect={"unsaid": [], "kept": {}, "attached": {}},
    ),
    Case(
        name="an image of another system user is refused",
        play=_another_s_image,
        expect={"unsaid": [], "kept": {}},
    ),
    Case(
        name="a pool that is not there is named",
        play=_no_such_pool,
        expect={"unsaid": [], "kept": {}},
    ),
    Case(
        name="an empty pool that does not let wait fails at once with its counts",
        play=_empty,
        expect={"unsaid": [], "kept": {}, "queue": 0},
    ),
    Case(
        name="a server that waits in vain leaves the queue",
        play=_waited_in_vain,
        expect={"unsaid": [], "kept": {}, "queue": 0},
    ),
    Case(
        name="of two who race for the last ready replica exactly one wins",
        play=_race_for_the_last,
        expect={"won": 1, "unsaid": [[]], "kept": 1, "attached": 1, "queue": 0},
    ),
    Case(
        name="of two who race for one ready replica both win where they may wait",
        play=_race_with_a_queue,
        expect={"won": 2, "attached": ["a", "b"], "volumes": 2, "queue": 0},
    ),
    Case(
        name="of two who make the same name at once exactly one wins",
        play=_race_for_a_name,
        expect={"won": 1, "unsaid": [[]], "kept": 1},
    ),
    Case(
        name="a server that is logged in keeps its volume until force_detach is set",
        play=_busy,
        expect={"unsaid": [], "session": True, "kept": ["storage"], "left": []},
        marks=("tgt",),
    ),
    Case(
        name="a server that is picked by labels is told and is no change",
        play=_picked,
        expect={"picked": True, "next plan": {}},
    ),
    Case(
        name="who waits gets what another gave back once it is scrubbed",
        play=_moved_to_another_user,
        expect={"attached": ["second"], "scrubbed in between": [True]},
    ),
    Case(
        name="a plan needs no engine",
        play=_away_in_a_plan,
        expect={"plan": {"server": "update", "pool": "create"}, "same": {}},
    ),
    Case(
        name="the first of several endpoints that is away is passed over",
        play=_first_node_away,
        expect={"made": ["server"], "next plan": {}, "change": {"server": "update"}},
    ),
    Case(
        name="an engine of which no node answers is said with every endpoint",
        play=_every_node_away,
        expect={"unsaid": []},
    ),
    Case(
        name="an engine that is away is said in one line and costs nothing",
        play=_away_in_an_apply,
        expect={"unsaid": [], "way out": True, "kept": True},
    ),
)
