"""Whole processes: from the engine's start to serving, and `clonepool status`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import NO_GOAL, Figure, Goal
from benchmarks.processes import BIN, EngineProcess, engine_process, environment, timed_run
from benchmarks.rounds import Rounds, alternate

NAME = "start"
_SERVING_GOAL = Goal(limit=1.5, text="< 1.5 s")
_STATUS_GOAL = Goal(limit=0.3, text="< 0.3 s")


FULL = Rounds(rounds=9)
QUICK = Rounds(rounds=3)
SMOKE = Rounds(rounds=1)


def run(*, scratch: Path, sizes: Rounds) -> list[Figure]:
    """The engine's first start, its next ones, and its status."""
    figures = [_first_start(scratch, sizes), _next_start(scratch, sizes)]
    with engine_process(scratch / "status" / "state") as engine:
        return [*figures, *_status(engine, sizes)]


def _python(program: str) -> Callable[[int], float]:
    """A whole Python process that does no more than this."""
    return lambda _number: timed_run([sys.executable, "-c", program], env=environment())


def _started(state_dir: Path) -> float:
    with engine_process(state_dir) as engine:
        return engine.start_s


def _first_start(scratch: Path, sizes: Rounds) -> Figure:
    pairs = alternate(
        rounds=sizes.rounds,
        floor=_python("import grpc"),
        subject=lambda number: _started(scratch / "first" / f"state-{number}"),
    )
    return Figure(
        benchmark=NAME,
        name="first start to SERVING",
        unit="s",
        floor_name='python -c "import grpc"',
        floor=pairs.floor,
        subject=pairs.subject,
        goal=_SERVING_GOAL,
        note="the first start makes the database",
    )


def _next_start(scratch: Path, sizes: Rounds) -> Figure:
    state_dir = scratch / "next" / "state"
    _started(state_dir)
    pairs = alternate(
        rounds=sizes.rounds,
        floor=_python("import grpc"),
        subject=lambda _number: _started(state_dir),
    )
    return Figure(
        benchmark=NAME,
        name="next start to SERVING",
        unit="s",
        floor_name='python -c "import grpc"',
        floor=pairs.floor,
        subject=pairs.subject,
        goal=_SERVING_GOAL,
    )


def _status(engine: EngineProcess, sizes: Rounds) -> list[Figure]:
    argv = [str(BIN / "clonepool"), "status"]
    env = environment(CLONEPOOL_ENDPOINT=engine.endpoint)
    figures = []
    for program, goal in (("pass", NO_GOAL), ("import grpc", _STATUS_GOAL)):
        pairs = alternate(
            rounds=sizes.rounds,
            floor=_python(program),
            subject=lambda _number: timed_run(argv, env=env),
        )
        figures.append(
            Figure(
                benchmark=NAME,
                name=f"clonepool status, against {program}",
                unit="s",
                floor_name=f'python -c "{program}"',
                floor=pairs.floor,
                subject=pairs.subject,
                goal=goal,
            )
        )
    return figures
