"""What the command line has a part in: whole lives, secrets at rest, imports, Ctrl-C, SIGKILL."""

from __future__ import annotations

from tests.faces.bench import Bench, actions
from tests.faces.model import Declared, Program, Ref
from tests.faces.table import Case, Level, Outcome


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


def case(**parts: object) -> Case:
    """A case that the command lines drive."""
    return Case(level=Level.COMMAND_LINE, **parts)  # type: ignore[arg-type]


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
)
