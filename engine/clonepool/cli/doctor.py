"""`clonepool doctor`: what this machine has of what Clonepool needs, and how to mend the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

from clonepool.cli import output
from clonepool.cli.checks import FAIL, Check, find_other_system, lacking
from clonepool.cli.checks_database import check_database
from clonepool.cli.checks_engine import check_engine
from clonepool.cli.checks_nodes import check_nodes
from clonepool.cli.checks_tools import check_tools
from clonepool.cli.settings import load_settings
from clonepool.config import Settings
from clonepool.errors import ClonepoolError

_INDENT: Final = " " * 6


def doctor(*, config: str = "", json: bool = False) -> int:
    """Check this machine, with and without an engine; each line OK, WARN or FAIL.

    Ends with exit code 1 when anything fails.

    Parameters
    ----------
    config
        Settings file (TOML) in place of the default one.
    json
        Print a JSON list of objects with the keys name, level, detail and mend.

    """
    checks = run_checks(config_file=config)
    if json:
        output.print_json([asdict(check) for check in checks])
    else:
        _print(checks)
    return 1 if any(check.level == FAIL for check in checks) else 0


def run_checks(*, config_file: str = "") -> Sequence[Check]:
    """Every check that can be made; settings that can't be read end the list early."""
    try:
        settings: Settings = load_settings(config_file=config_file)
    except ClonepoolError as error:
        bad = Check(
            name="settings", level=FAIL, detail=str(error), mend="see docs/configuration.md"
        )
        return [bad, *check_tools()]
    return [
        *check_tools(),
        *_check_machine(settings),
        *check_database(settings),
        *check_engine(settings),
        *check_nodes(),
    ]


def _check_machine(settings: Settings) -> Iterable[Check]:
    system = find_other_system()
    if system is not None:
        detail = f"{system}: no engine runs here; what uses one that is elsewhere works"
        return [lacking("system", detail, "set CLONEPOOL_ENDPOINT to an engine on Linux")]
    from clonepool.cli.checks_machine import check_machine  # noqa: PLC0415 - Linux only

    return check_machine(settings)


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.level:<4}  {check.name.ljust(width)}  {check.detail}")
        if check.mend:
            print(f"{_INDENT}{' ' * width}  -> {check.mend}")
