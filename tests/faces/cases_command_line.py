"""What the command line has a part in: whole lives, secrets at rest, imports, replacements."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.faces.bench import Bench, actions, problems, refusal
from tests.faces.differences import Difference
from tests.faces.model import AWAY, Declared, Face, Program, Ref
from tests.faces.stack import attempt
from tests.faces.table import Case, Level, Outcome

GIVEN = "given-by-the-user"


def _whole(bench: Bench) -> Program:
    """One of each kind, each referring to the one before."""
    return [
        bench.image(),
        bench.pool(master_image=Ref(label="image"), min_ready=1),
        bench.server(),
        bench.attachment(pool=Ref(label="pool"), server=Ref(label="server")),
    ]


def _life(bench: Bench) -> Outcome:
    program = _whole(bench)
    first = actions(bench.stack.plan(program))
    bench.stack.apply(program)
    attached = bench.attached(bench.name("pool"))
    second = actions(bench.stack.plan(program))
    volume = bench.stack.outputs("storage")["volume"]
    bench.stack.destroy()
    return {
        "first plan": first,
        "attached": attached == {"storage": volume},
        "second plan": second,
        "left": [
            noun
            for noun, word in (("Image", "image"), ("Pool", "pool"), ("Server", "server"))
            if bench.is_there(noun, bench.name(word))
        ],
        "state": dict(bench.stack.ids()),
    }


def _secrets(bench: Bench) -> Outcome:
    """One account made by the engine, one given; where they are to be read in the clear."""
    pool = bench.stocked_pool(fabric="iscsi", ready=2)
    account = {"mode": "given", "username": "web", "secret": GIVEN}
    program = [
        bench.attachment("made", pool=pool, inline_server=bench.host("host1")),
        bench.attachment("given", pool=pool, inline_server=bench.host("host2"), chap=account),
    ]
    bench.stack.apply(program)
    made, given = (bench.account(label).chap_secret for label in ("made", "given"))
    at_rest = bench.command.at_rest()
    return {
        "generated": len(made) >= 12,
        "the given one is the engine's": given == GIVEN,
        "generated in the clear": at_rest.count(made),
        "given in the clear": at_rest.count(GIVEN),
        "generated is in the state": "chap_secret" in at_rest or "chapSecret" in at_rest,
        "second plan": actions(bench.stack.plan(program)),
    }


def _imported(bench: Bench) -> Outcome:
    """Somebody made one of each; the program says the same, and takes them over by their ids."""
    pool = bench.stocked_pool(max_replicas=5)
    server = bench.made_server(labels={"rack": "r1"})
    attachment = bench.made_attachment(pool, server=server.spec.name)
    master = bench.stock.own.message
    found = {
        "image": (master.id, bench.image(name=master.spec.name)),
        "pool": (attachment.pool_id, bench.pool(name=pool, min_ready=1, max_replicas=5)),
        "server": (server.id, bench.server(name=server.spec.name, labels={"rack": "r1"})),
        "storage": (
            attachment.id,
            bench.attachment(name=attachment.spec.name, pool=pool, server=server.spec.name),
        ),
    }
    program = [declared.but(**_content(bench, declared)) for _, declared in found.values()]
    ids = {label: each[0] for label, each in found.items()}
    attempt(lambda: bench.stack.bring_in(program, ids))
    outcome = {
        "imported": sorted(bench.stack.ids()) if ids == dict(bench.stack.ids()) else [],
        "next plan": actions(bench.stack.plan(program)),
    }
    bench.command.forget()
    return outcome


def _content(bench: Bench, declared: Declared) -> dict[str, Any]:
    """The shared master has a read-only portion too."""
    if declared.kind != "MasterImage":
        return {}
    return {"read_only": {"source": str(bench.stock.own.read_only)}}


def _drift_and_gone(bench: Bench) -> Outcome:
    pool = bench.stocked_pool(ready=2)
    storage = bench.attachment(pool=pool)
    program = [bench.pool(max_replicas=7), storage]
    bench.stack.apply(program)
    volume = bench.stack.outputs("storage")["volume"]
    bench.site.change_pool(bench.name("pool"), max_replicas=50)
    bench.site.release(bench.account("storage"))
    bench.stack.refresh()
    seen = {label: bench.stack.outputs(label) for label in bench.stack.ids()}
    plan = actions(bench.stack.plan(program))
    bench.stack.apply(program)
    return {
        "gone": "storage" not in seen,
        "drift": seen["pool"]["max_replicas"],
        "plan": plan,
        "mended": bench.spec("Pool", bench.name("pool")).max_replicas,
        "another volume": volume != bench.attached(pool)["storage"],
    }


def _by_hand(bench: Bench) -> Outcome:
    """A live attachment is replaced by order; nothing of the program has changed."""
    pool = bench.stocked_pool(ready=3)
    program = [bench.attachment("other", pool=pool), bench.attachment("storage", pool=pool)]
    bench.stack.apply(program)
    before = dict(bench.attached(pool))
    refused = attempt(lambda: bench.command.replace_by_hand(program, "storage"))
    after = bench.attached(pool)
    return {
        "another volume": before["storage"] != after["storage"],
        "old volume": bench.site.volume(before["storage"]).state,
        "other": before["other"] == after["other"],
        "attached": sorted(after),
        "way out": refused is not None and "deleteBeforeReplace" in refused.text,
    }


def _replaced_chain(bench: Bench) -> Outcome:
    """A replaced image, with a pool of it and an attachment to that pool."""
    program = [
        bench.image(),
        bench.pool(master_image=Ref(label="image"), min_ready=1),
        bench.attachment(pool=Ref(label="pool")),
    ]
    bench.stack.apply(program)
    volume = bench.attached(bench.name("pool"))["storage"]
    renamed = [program[0].but(name=bench.name("renamed")), *program[1:]]
    plan = actions(bench.stack.plan(renamed))
    refused = attempt(lambda: bench.stack.apply(renamed))
    holder = (f"pool {bench.name('pool')} has attachments", bench.name("storage"))
    return {
        "plan": plan,
        "another volume": volume != bench.attached(bench.name("pool"))["storage"],
        "refused": refused is not None and [] == refused.lacks(*holder),
    }


def _away(bench: Bench) -> Outcome:
    server = bench.server()
    bench.stack.apply([server])
    kept = dict(bench.stack.ids())
    bench.stack.reach(AWAY)
    words = (f"no engine answers at {AWAY}", "clonepool serve")
    fresh: dict[str, str] = {}
    in_plan = attempt(lambda: fresh.update(actions(bench.stack.plan([server, bench.pool()]))))
    in_apply = refusal(lambda: bench.stack.apply([server.but(labels={"a": "b"})]))
    return {
        "plan": fresh,
        "plan refused": in_plan is not None and [] == in_plan.lacks(*words),
        "unsaid": in_apply.lacks(*words),
        "kept": kept == dict(bench.stack.ids()),
    }


def _bad_input(bench: Bench) -> Outcome:
    """A preview says what is wrong, and what is wrong is never made."""
    program = [bench.server(), bench.pool(scrub={"threshold": 0}, min_ready=5, max_replicas=4)]
    found = problems(bench.stack, program)
    refusal(lambda: bench.stack.apply(program))
    return {
        "problems": found,
        "made": bench.is_there("Pool", bench.name("pool")),
    }


def _unnamed(bench: Bench) -> Outcome:
    planned: dict[str, str] = {}
    unnamed = [bench.server().but(name=None)]
    refused = attempt(lambda: planned.update(actions(bench.stack.plan(unnamed))))
    return {
        "plan": planned,
        "refused": refused is not None and [] == refused.lacks('"name" is required'),
    }


# what the command lines drive
case = partial(Case, level=Level.COMMAND_LINE)
CASES = (
    case(
        name="a whole program comes up, stays as it is, and goes without a trace",
        play=_life,
        expect={
            "first plan": {
                "image": "create",
                "pool": "create",
                "server": "create",
                "storage": "create",
            },
            "attached": True,
            "second plan": {},
            "left": [],
            "state": {},
        },
    ),
    case(
        name="a CHAP secret is in the clear in no state",
        play=_secrets,
        expect={
            "generated": True,
            "the given one is the engine's": True,
            "generated in the clear": 0,
            "given in the clear": 0,
            "generated is in the state": True,
            "second plan": {},
        },
        differs={
            Difference.GENERATED_SECRET: {Face.TERRAFORM: {"generated is in the state": False}}
        },
        marks=("tgt",),
    ),
    case(
        name="one of each kind is imported by its id and nothing is left to change",
        play=_imported,
        expect={"imported": ["image", "pool", "server", "storage"], "next plan": {}},
        differs={
            Difference.IMPORT: {
                Face.DYNAMIC: {
                    "imported": [],
                    "next plan": {
                        "image": "create",
                        "pool": "create",
                        "server": "create",
                        "storage": "create",
                    },
                }
            }
        },
    ),
    case(
        name="drift and what is gone are seen by a refresh and put right by the next apply",
        play=_drift_and_gone,
        expect={
            "gone": True,
            "drift": 50,
            "plan": {"pool": "update", "storage": "create"},
            "mended": 7,
            "another volume": True,
        },
    ),
    case(
        name="a live attachment is replaced by order and nothing else goes",
        play=_by_hand,
        expect={
            "another volume": True,
            "old volume": "released",
            "other": True,
            "attached": ["other", "storage"],
            "way out": False,
        },
        differs={
            Difference.REPLACED_BY_HAND: {
                Face.PLUGIN: {"another volume": False, "old volume": "allocated", "way out": True}
            }
        },
    ),
    case(
        name="a replaced image takes its pools and their attachments along",
        play=_replaced_chain,
        expect={
            "plan": {"image": "replace", "pool": "replace", "storage": "replace"},
            "another volume": True,
            "refused": False,
        },
        differs={
            Difference.TAKEN_ALONG: {
                Face.TERRAFORM: {
                    "plan": {"image": "replace", "pool": "replace"},
                    "another volume": False,
                    "refused": True,
                }
            }
        },
    ),
    case(
        name="an engine that is away stops neither a preview nor the user's understanding",
        play=_away,
        expect={"plan": {"pool": "create"}, "plan refused": False, "unsaid": [], "kept": True},
        differs={Difference.ENGINE_AWAY: {Face.TERRAFORM: {"plan": {}, "plan refused": True}}},
    ),
    case(
        name="bad input is shown with its path before anything is made",
        play=_bad_input,
        expect={"problems": ["min_ready", "scrub.threshold"], "made": False},
    ),
    case(
        name="a name that is left out is made up",
        play=_unnamed,
        expect={"plan": {"server": "create"}, "refused": False},
        differs={Difference.NAME_LEFT_OUT: {Face.TERRAFORM: {"plan": {}, "refused": True}}},
    ),
)
