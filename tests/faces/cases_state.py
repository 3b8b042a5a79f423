"""What a state is held against: drift, what is gone, what is brought in, what is half made."""

from __future__ import annotations

from functools import partial
from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from tests.faces.bench import Bench, actions, plan_or_problems, refusal
from tests.faces.differences import Difference
from tests.faces.model import Declared, Face
from tests.faces.stack import attempt
from tests.faces.table import Case, Outcome
from tests.support.http_source import StalledSource
from tests.support.site import CUSTOMER, Site
from tests.support.waiting import wait_for


def _drifted_pool(bench: Bench) -> Outcome:
    bench.stack.apply([bench.pool(max_replicas=7)])
    bench.site.change_pool(bench.name("pool"), max_replicas=50)
    return _mended(bench, bench.pool(max_replicas=7), "Pool", "max_replicas")


def _drifted_flag(bench: Bench) -> Outcome:
    declared = bench.attachment(pool=bench.stocked_pool())
    bench.stack.apply([declared])
    spec = bench.spec("Attachment", bench.name("storage"))
    spec.force_detach = True
    request = pb.UpdateAttachmentRequest(id=bench.stack.ids()["storage"], spec=spec)
    bench.site.call("UpdateAttachment", request)
    return _mended(bench, declared, "Attachment", "force_detach")


def _mended(bench: Bench, declared: Declared, noun: str, field: str) -> Outcome:
    """The refresh sees it, the next plan says it, and the next apply puts it right."""
    ids = dict(bench.stack.ids())
    bench.stack.refresh()
    seen = bench.stack.outputs(declared.label)[field]
    plan = actions(bench.stack.plan([declared]))
    bench.stack.apply([declared])
    return {
        "seen": seen,
        "plan": plan,
        "mended": getattr(bench.spec(noun, declared.inputs["name"]), field),
        "same object": ids == dict(bench.stack.ids()),
    }


def _gone(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(ready=2)
    declared = bench.attachment(pool=pool)
    bench.stack.apply([declared])
    volume = bench.stack.outputs("storage")["volume"]
    bench.site.release(bench.account("storage"))
    bench.stack.refresh()
    seen = list(bench.stack.ids())
    plan = actions(bench.stack.plan([declared]))
    bench.stack.apply([declared])
    return {
        "seen": seen,
        "plan": plan,
        "another volume": volume != bench.stack.outputs("storage")["volume"],
        "attached": list(bench.attached(pool)),
    }


def _twin(bench: Bench) -> Outcome:
    """The name is the same, but it is somebody else's: it is neither taken nor deleted."""
    declared = bench.server()
    bench.stack.apply([declared])
    bench.delete("Server", bench.stack.ids()["server"])
    theirs = bench.made_server(name=declared.inputs["name"])
    bench.stack.refresh()
    seen = list(bench.stack.ids())
    refused = refusal(lambda: bench.stack.apply([declared]))
    bench.stack.destroy()
    return {
        "seen": seen,
        "unsaid": refused.lacks(theirs.id),
        "theirs": bench.is_there("Server", declared.inputs["name"]),
    }


def _brought_in(bench: Bench, noun: str) -> Outcome:
    """Somebody else made it; it is imported by its name, and nothing is left to change."""
    declared = {
        "Image": lambda: bench.image(labels={"os": "a"}),
        "Pool": lambda: bench.pool(max_replicas=5, scrub={"threshold": 3}),
        "Server": lambda: bench.server(labels={"rack": "r1"}),
        "Attachment": lambda: bench.attachment(pool=bench.stocked_pool()),
    }[noun]()
    theirs, mine = bench.another_stack(), bench.another_stack()
    theirs.apply([declared])
    attempt(lambda: mine.bring_in([declared], {declared.label: declared.inputs["name"]}))
    return {
        "imported": dict(theirs.ids()) == dict(mine.ids()),
        "next plan": actions(mine.plan([declared])),
    }


def _brings_in_nothing(bench: Bench) -> Outcome:
    names = [bench.name("server"), "7c2d4a52-63a5-4f0a-9d0c-3d7a3b0d6f11"]
    told = [
        refusal(lambda name=name: bench.stack.bring_in([bench.server()], {"server": name}))
        for name in names
    ]
    return {"refused": len(told), "kept": dict(bench.stack.ids())}


def _too_slow(bench: Bench) -> Outcome:
    """An import goes on in the engine when the user's time is up: it is found again."""
    with StalledSource(content=bench.stock.source.read_bytes()) as stalled:
        declared = bench.image(writable={"source": stalled.url})
        limited = Declared(
            kind=declared.kind, label="image", inputs=declared.inputs, create_timeout_s=0.5
        )
        bench.hurry()
        refused = refusal(lambda: bench.stack.apply([limited]))
        kept = list(bench.stack.ids())
        there = bench.is_there("Image", bench.name("image"))
        plan = actions(bench.stack.plan([limited]))
        stalled.go_on()
        bench.take_time()
        bench.stack.apply([declared])
    return {
        "unsaid": refused.lacks("is not there after 500ms"),
        "kept": kept,
        "there": there,
        "next plan": plan,
        "version": bench.stack.outputs("image")["version"],
        "after it": actions(bench.stack.plan([declared])),
    }


def _limits_on_an_image(bench: Bench) -> Outcome:
    return plan_or_problems(bench.stack, [bench.image(timeouts={"create": "2h"})])


def _engine_restarts_in_an_import(bench: Bench) -> Outcome:
    site = bench.open_fragile_site()
    bench.stack.reach(site.engine.endpoint)
    with StalledSource(content=bench.stock.source.read_bytes()) as stalled:
        program = [bench.image(writable={"source": stalled.url})]
        running = bench.stack.begin(program)
        stalled.wait_until_asked()
        site.engine.kill()
        site.engine.start()
        stalled.go_on()
        running.wait()
    versions = bench.stack.outputs("image")["version"]
    plan = actions(bench.stack.plan(program))
    bench.stack.destroy()
    return {"version": versions, "next plan": plan, "left": _names(site)}


def _engine_restarts_in_the_queue(bench: Bench) -> Outcome:
    """Its place outlives the engine; it is served when another gives a replica back."""
    site = bench.open_fragile_site()
    bench.stack.reach(site.engine.endpoint)
    master = site.image(system_user=CUSTOMER)
    pool = site.pool(master, fabric="local", max_replicas=1, scrub=pb.ScrubPolicy(threshold=1))
    held = site.attach(pool)
    running = bench.stack.begin([bench.attachment(pool=pool)])
    wait_for(lambda: site.counts(pool).waiting == 1, what="the queue")
    site.engine.kill()
    site.engine.start()
    site.release(held)
    running.wait()
    volumes = [each.volume_id for each in site.attachments()]
    mine = bench.stack.outputs("storage")["volume"]
    bench.stack.destroy()
    site.delete_pool(pool)
    return {"volumes": volumes == [mine], "attached after it": len(site.attachments())}


def _names(site: Site) -> list[str]:
    found = site.call("ListImages", pb.ListRequest(name_prefix="c")).images
    return [each.spec.name for each in found]


def _failed_import(bench: Bench) -> Outcome:
    declared = bench.image(writable={"source": f"{bench.stock.source}.missing"})
    refused = refusal(lambda: bench.stack.apply([declared]))
    return {
        "unsaid": refused.lacks(f"{bench.stock.source}.missing"),
        "kept": dict(bench.stack.ids()),
        "there": bench.is_there("Image", bench.name("image")),
    }


def _failed_version(bench: Bench) -> Outcome:
    """The old version stays; that the new one is not there shows in no input."""
    bench.stack.apply([bench.image()])
    missing = bench.image(writable={"source": f"{bench.stock.source}.missing"})
    refusal(lambda: bench.stack.apply([missing]))
    bench.stack.refresh()
    kept: dict[str, Any] = dict(bench.stack.outputs("image"))
    return {
        "version": kept["version"],
        "trouble is an output": bool(kept.get("trouble")),
        "plan of the same": actions(bench.stack.plan([missing])),
        "plan back": actions(bench.stack.plan([bench.image()])),
    }


_IMPORTED = {"imported": True, "next plan": {}}
CASES = (
    Case(
        name="a setting that was changed behind our back is seen and put right",
        play=_drifted_pool,
        expect={"seen": 50, "plan": {"pool": "update"}, "mended": 7, "same object": True},
    ),
    Case(
        name="a flag that was changed behind our back is seen and put right",
        play=_drifted_flag,
        expect={"seen": True, "plan": {"storage": "update"}, "mended": False, "same object": True},
    ),
    Case(
        name="what is gone behind our back is made again",
        play=_gone,
        expect={
            "seen": [],
            "plan": {"storage": "create"},
            "another volume": True,
            "attached": ["storage"],
        },
    ),
    Case(
        name="one of the same name is not taken for what is gone",
        play=_twin,
        expect={"seen": [], "unsaid": [], "theirs": True},
    ),
    *(
        Case(
            name=f"{what} is imported by its name and nothing is left to change",
            play=partial(_brought_in, noun=noun),
            expect=_IMPORTED,
            differs={
                Difference.IMPORT: {
                    Face.DYNAMIC: {"imported": False, "next plan": {label: "create"}}
                }
            },
        )
        for noun, what, label in (
            ("Image", "a master image", "image"),
            ("Pool", "a pool", "pool"),
            ("Server", "a server", "server"),
            ("Attachment", "an attachment", "storage"),
        )
    ),
    Case(
        name="what is not there is not imported",
        play=_brings_in_nothing,
        expect={"refused": 2, "kept": {}},
    ),
    Case(
        name="an import that takes too long is not forgotten",
        play=_too_slow,
        expect={
            "unsaid": [],
            "kept": ["image"],
            "there": True,
            "next plan": {"image": "update"},
            "version": 1,
            "after it": {},
        },
        differs={
            Difference.HALF_MADE: {
                Face.DYNAMIC: {"kept": [], "next plan": {"image": "create"}},
                Face.TERRAFORM: {"next plan": {"image": "replace"}},
            },
        },
    ),
    Case(
        name="the time limit of an import is not one of its inputs",
        play=_limits_on_an_image,
        expect={"plan": {}, "refused": ["timeouts"]},
        differs={
            Difference.TIME_LIMITS: {Face.TERRAFORM: {"plan": {"image": "create"}, "refused": []}}
        },
    ),
    Case(
        name="an engine that is killed and started in mid-import is waited for",
        play=_engine_restarts_in_an_import,
        expect={"version": 1, "next plan": {}, "left": []},
    ),
    Case(
        name="an engine that is killed and started keeps a server's place in the queue",
        play=_engine_restarts_in_the_queue,
        expect={"volumes": True, "attached after it": 0},
    ),
    Case(
        name="a first import that fails leaves nothing",
        play=_failed_import,
        expect={"unsaid": [], "kept": {}, "there": False},
    ),
    Case(
        name="a new version that cannot be imported leaves the old one and is tried again",
        play=_failed_version,
        expect={
            "version": 1,
            "trouble is an output": False,
            "plan of the same": {"image": "update"},
            "plan back": {"image": "update"},
        },
        differs={Difference.TROUBLE: {Face.TERRAFORM: {"trouble is an output": True}}},
    ),
)
