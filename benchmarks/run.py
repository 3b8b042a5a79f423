"""Measure everything, each figure beside its floor: `python benchmarks/run.py [--quick]`."""

from __future__ import annotations

import argparse
import compileall
import importlib
import os
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

CHECKOUT = Path(__file__).resolve().parents[1]
if not __package__:
    # run as a script, Python looks beside this file, where `attach` is not `benchmarks.attach`
    sys.path[0] = str(CHECKOUT)

from benchmarks import machine, report  # noqa: E402 - see above
from benchmarks.figures import Figure, Skip  # noqa: E402 - see above

# in this order; each is a module with NAME, FULL, QUICK and run(scratch=, sizes=)
NAMES = (
    "attach",
    "attach_rpc",
    "flatness",
    "clone_rate",
    "provider_start",
    "terraform_apply",
    "pulumi_up",
    "plugin_up",
    "start",
    "memory",
)
RESULTS = CHECKOUT / "benchmarks" / "results"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument(
        "--quick", action="store_true", help="few rounds: for trying, not for telling"
    )
    made.add_argument("--only", action="append", choices=NAMES, help="one of them; may be repeated")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the results go besides")
    made.add_argument(
        "--scratch",
        type=Path,
        default=Path("/var/tmp"),  # noqa: S108 - a private folder is made in it
        help="folder on the file system to measure, best the engine's state's (default /var/tmp)",
    )
    made.add_argument("--keep", action="store_true", help="write results to benchmarks/results")
    return made


def measure(name: str, *, quick: bool, scratch: Path) -> list[Figure]:
    """Run one benchmark in a folder of its own, removed at the end."""
    module = load(name)
    with tempfile.TemporaryDirectory(prefix=f"clonepool-{name}-", dir=scratch) as folder:
        # what makes temporary files by itself makes them on the same file system
        tempfile.tempdir = folder
        try:
            figures: list[Figure] = module.run(
                scratch=Path(folder), sizes=module.QUICK if quick else module.FULL
            )
        finally:
            tempfile.tempdir = None
    return figures


def load(name: str) -> ModuleType:
    """A benchmark's module; the others are not imported for it."""
    return importlib.import_module(f"benchmarks.{name}")


def compile_modules() -> None:
    """Compile what is imported, as an installation by pip leaves it.

    Without it, and where Python may not write beside its modules, a start is compiling: 1.8 s for
    the engine that else starts in 0.5 s.
    """
    folders = [CHECKOUT / "engine", CHECKOUT / "provider", sysconfig.get_path("purelib")]
    for folder in folders:
        compileall.compile_dir(folder, quiet=2, workers=0)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep what was asked for."""
    asked = parser().parse_args(argv)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    compile_modules()
    facts = machine.facts(asked.scratch)
    began = datetime.now(UTC)
    figures: list[Figure] = []
    skipped: dict[str, str] = {}
    failed: list[str] = []
    for name in asked.only or NAMES:
        say(f"{name} ...")
        try:
            figures += measure(name, quick=asked.quick, scratch=asked.scratch)
        except Skip as reason:
            skipped[name] = f"left out: {reason}"
        except Exception as error:  # noqa: BLE001 - the others took minutes and are not lost with it
            traceback.print_exc()
            skipped[name] = f"failed: {error}"
            failed.append(name)
    say(f"done in {time.time() - began.timestamp():.0f} s")
    show(figures, skipped=skipped)
    content = report.document(
        figures,
        machine=facts,
        skipped=skipped,
        sizes="quick" if asked.quick else "full",
        taken_at=began.isoformat(timespec="seconds"),
    )
    kept = [asked.json] if asked.json else []
    if asked.keep:
        kept.append(RESULTS / f"{began:%Y-%m-%d-%H%M}.json")
    for path in kept:
        report.write(path, content)
        say(f"written to {path}")
    return 1 if failed else 0


def show(figures: Sequence[Figure], *, skipped: dict[str, str]) -> None:
    """The table, what the floors are, and what was left out."""
    if figures:
        print(report.table(figures))
        print()
        print(report.floors(figures))
    for name, reason in skipped.items():
        print(f"{name}: {reason}")


def say(text: str) -> None:
    """Progress; the results alone go to stdout."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
