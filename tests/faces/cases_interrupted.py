"""Ctrl-C and SIGKILL in the middle of an apply: what stays, who is told, and the next run."""

from __future__ import annotations

from functools import partial

from clonepool.api.v1 import engine_pb2 as pb
from tests.faces.bench import Bench, actions, refusal
from tests.faces.differences import Difference
from tests.faces.model import Face, Program
from tests.faces.stack import attempt
from tests.faces.table import Case, Level, Outcome
from tests.support.http_source import StalledSource
from tests.support.waiting import wait_for


def _full_pool(bench: Bench) -> tuple[str, Program]:
    """A pool whose one replica somebody has, and a program that waits for it."""
    pool = bench.stocked_pool(max_replicas=1, scrub=pb.ScrubPolicy(threshold=1))
    return pool, [bench.attachment(pool=pool)]


def _interrupted(bench: Bench) -> Outcome:
    pool, program = _full_pool(bench)
    holder = bench.made_attachment(pool)
    running = bench.stack.begin(program)
    wait_for(lambda: bench.site.counts(pool).waiting == 1, what="the queue")
    running.interrupt()
    refusal(running.wait)
    queue, kept = bench.site.counts(pool).waiting, dict(bench.stack.ids())
    bench.site.release(holder)
    bench.stack.apply(program)
    return {"queue": queue, "kept": kept, "after it": list(bench.attached(pool))}


def _interrupted_import(bench: Bench) -> Outcome:
    """What the engine has begun; in the end there is one image, whoever had to be told of it."""
    with StalledSource(content=bench.stock.source.read_bytes()) as stalled:
        program = [bench.image(writable={"source": stalled.url})]
        running = bench.stack.begin(program)
        stalled.wait_until_asked()
        running.interrupt()
        refusal(running.wait)
        there, kept = bench.is_there("Image", bench.name("image")), list(bench.stack.ids())
        stalled.go_on()
        bench.stack.apply(program)
    return {
        "there": there,
        "kept": kept,
        "images": bench.ids_of_images(bench.name("image")) == list(bench.stack.ids().values()),
    }


def _killed(bench: Bench) -> Outcome:
    """SIGKILL to the command and its provider in mid-create; the user runs it again."""
    with StalledSource(content=bench.stock.source.read_bytes()) as stalled:
        program = [bench.image(writable={"source": stalled.url})]
        running = bench.stack.begin(program)
        stalled.wait_until_asked()
        running.kill()
        stalled.go_on()
        bench.command.recover()
        refused = attempt(lambda: bench.stack.apply(program))
    (orphan,) = bench.ids_of_images(bench.name("image"))
    outcome = {
        "taken up": orphan == bench.stack.ids().get("image"),
        "told": refused is not None
        and [] == refused.lacks(" import ", "that was killed", bench.name("image"), orphan),
    }
    if refused is not None:
        # what the user is told to do is done, and nothing is left over
        bench.stack.bring_in(program, {"image": orphan})
    return {
        **outcome,
        "images": len(bench.ids_of_images(bench.name("image"))),
        "next plan": actions(bench.stack.plan(program)),
    }


def _killed_in_the_queue(bench: Bench) -> Outcome:
    """A place in the queue that nobody holds any more; run again, and no second volume goes."""
    pool, program = _full_pool(bench)
    holder = bench.made_attachment(pool)
    running = bench.stack.begin(program)
    wait_for(lambda: bench.site.counts(pool).waiting == 1, what="the queue")
    running.kill()
    bench.command.recover()
    bench.site.release(holder)
    refused = attempt(lambda: bench.stack.apply(program))
    outcome = {
        "taken up": list(bench.attached(pool)) == ["storage"],
        "told": refused is not None
        and [] == refused.lacks(" import ", "that was killed", bench.name("storage")),
        "volumes": bench.volume_states(pool),
    }
    if refused is not None:
        # nobody shows up for that place: it would end by itself, but the case does not wait
        bench.site.release(bench.account("storage"))
    return outcome


# a signal is the command line's: it goes to a whole group, or a whole session
case = partial(Case, level=Level.COMMAND_LINE)
CASES = (
    case(
        name="Ctrl-C in the queue leaves it and the next apply is served",
        play=_interrupted,
        expect={"queue": 0, "kept": {}, "after it": ["storage"]},
        differs={Difference.INTERRUPT: {Face.DYNAMIC: {"queue": 1}}},
    ),
    case(
        name="Ctrl-C in mid-import leaves nothing and the next apply makes it",
        play=_interrupted_import,
        expect={"there": False, "kept": [], "images": True},
        differs={
            Difference.INTERRUPTED_IMPORT: {
                Face.DYNAMIC: {"there": True},
                Face.TERRAFORM: {"there": True, "kept": ["image"]},
            }
        },
    ),
    case(
        name="what was killed in mid-import is told of and no second one is made",
        play=_killed,
        expect={"taken up": False, "told": True, "images": 1, "next plan": {}},
        differs={Difference.TAKEN_UP: {Face.DYNAMIC: {"taken up": True, "told": False}}},
    ),
    case(
        name="what was killed in the queue is told of and no second volume is taken",
        play=_killed_in_the_queue,
        expect={"taken up": False, "told": True, "volumes": []},
        differs={
            Difference.TAKEN_UP: {
                Face.DYNAMIC: {"taken up": True, "told": False, "volumes": ["allocated"]}
            }
        },
    ),
)
