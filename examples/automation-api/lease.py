#!/usr/bin/env python3
"""Lease servers with storage for a test run, and give them back.

    lease.py take --for-run NAME --pool POOL [--count N] [--secrets FILE | --show-secrets]
    lease.py run --for-run NAME --pool POOL [--count N] -- COMMAND ...
    lease.py show NAME [--secrets FILE | --show-secrets]
    lease.py list
    lease.py give-back NAME [--force]

`take` and `show` print JSON. CHAP secrets are in it only with --show-secrets; --secrets writes them
to a file of mode 0600. `run` leases for one command, which finds the JSON, without secrets, in
$LEASE and the file with secrets in $LEASE_SECRETS. Ctrl-C gives back.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from leasing import LeasedServer, LeaseError, Leases, Wanted, write_private

FAILED, INTERRUPTED = 1, 130
SECRET = "chap_secret"  # noqa: S105 - a field's name


def document(run: str, servers: Sequence[LeasedServer], *, with_secrets: bool) -> str:
    """A lease as JSON."""
    found: list[dict[str, Any]] = [asdict(server) for server in servers]
    for each in found:
        if not with_secrets:
            del each[SECRET]
    return json.dumps({"run": run, "servers": found}, indent=2)


def secrets_of(servers: Sequence[LeasedServer]) -> str:
    """The accounts as JSON, by server."""
    return json.dumps(
        {
            each.server: {"chap_username": each.chap_username, SECRET: each.chap_secret}
            for each in servers
        },
        indent=2,
    )


def tell(run: str, servers: Sequence[LeasedServer], asked: argparse.Namespace) -> None:
    """Print a lease; its secrets where they are asked for."""
    if asked.secrets:
        write_private(asked.secrets, secrets_of(servers))
    print(document(run, servers, with_secrets=asked.show_secrets))


def wanted(asked: argparse.Namespace) -> Wanted:
    """What the command line asks to lease."""
    return Wanted(
        pool=asked.pool,
        count=asked.count,
        system_user=asked.system_user,
        labels=dict(asked.label),
        initiator_prefix=asked.initiator_prefix,
        timeout=asked.timeout,
    )


def take(leases: Leases, asked: argparse.Namespace) -> int:
    tell(asked.for_run, leases.take(asked.for_run, wanted(asked)), asked)
    return 0


def show(leases: Leases, asked: argparse.Namespace) -> int:
    tell(asked.name, leases.show(asked.name), asked)
    return 0


def list_leases(leases: Leases, _: argparse.Namespace) -> int:
    print(json.dumps(list(leases.names())))
    return 0


def give_back(leases: Leases, asked: argparse.Namespace) -> int:
    given = leases.give_back(asked.name, force=asked.force)
    say(f"{asked.name}: {'given back' if given else 'nothing was leased'}")
    return 0


def run(leases: Leases, asked: argparse.Namespace) -> int:
    """Lease for the length of a command; its exit code."""
    with (
        tempfile.TemporaryDirectory(prefix="lease-") as folder,
        leases.leased(asked.for_run, wanted(asked)) as servers,
    ):
        file = Path(folder) / "secrets.json"
        write_private(file, secrets_of(servers))
        lease = document(asked.for_run, servers, with_secrets=False)
        variables = {**os.environ, "LEASE": lease, "LEASE_SECRETS": str(file)}
        return subprocess.run(asked.command, env=variables, check=False).returncode


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, act in (("take", take), ("run", run)):
        command = commands.add_parser(name)
        command.set_defaults(act=act)
        command.add_argument("--for-run", required=True, metavar="NAME")
        command.add_argument("--pool", required=True)
        command.add_argument("--count", type=int, default=1)
        command.add_argument("--system-user", default="", help="a customer's name")
        command.add_argument(
            "--label", action="append", default=[], type=_label, metavar="KEY=VALUE"
        )
        command.add_argument("--initiator-prefix", default=Wanted.initiator_prefix)
        command.add_argument("--timeout", default=Wanted.timeout)
        if act is take:
            _add_secrets(command)
        else:
            command.add_argument("command", nargs="+")
    command = commands.add_parser("show")
    command.set_defaults(act=show)
    command.add_argument("name")
    _add_secrets(command)
    command = commands.add_parser("give-back")
    command.set_defaults(act=give_back)
    command.add_argument("name")
    command.add_argument("--force", action="store_true", help="break a killed update's lock")
    commands.add_parser("list").set_defaults(act=list_leases)
    return parser.parse_args()


def _label(word: str) -> tuple[str, str]:
    key, sign, value = word.partition("=")
    if not (key and sign):
        raise argparse.ArgumentTypeError(f"{word!r} is not KEY=VALUE")
    return key, value


def _add_secrets(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group()
    where.add_argument("--secrets", type=Path, metavar="FILE")
    where.add_argument("--show-secrets", action="store_true")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    asked = parse()
    # a scheduler that ends a run is as good as Ctrl-C
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code: int = asked.act(Leases(say=say), asked)
    except LeaseError as error:
        say(f"error: {error}")
        return FAILED
    except OSError as error:
        say(f"error: {error.filename}: {error.strerror}")
        return FAILED
    except KeyboardInterrupt:
        say("interrupted; `lease.py list` says whether anything is still leased")
        return INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
