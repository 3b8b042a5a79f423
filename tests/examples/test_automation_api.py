"""examples/automation-api: leases of servers with storage, by the real Pulumi and a real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import ChapAccount
from clonepool.testing.initiator import LoginRefused, Session
from tests.support.pulumi_project import PulumiProject
from tests.support.site import CUSTOMER, Site
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.pulumi, pytest.mark.slow]

PROGRAM = Path(__file__).resolve().parents[2] / "examples/automation-api/lease.py"
LIMIT_S = 150
UNSET = ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "VIRTUAL_ENV")


@dataclass(frozen=True, kw_only=True)
class Done:
    """How the program ended."""

    code: int
    out: str
    err: str

    @property
    def servers(self) -> list[dict[str, Any]]:
        """What it says is leased."""
        found: list[dict[str, Any]] = json.loads(self.out)["servers"]
        return found


@dataclass(frozen=True, kw_only=True)
class Leaser:
    """The program for one user, whose leases are nobody else's."""

    variables: dict[str, str]

    def run(self, *words: str, code: int = 0, **more: str) -> Done:
        """Run it to its end."""
        process = self.start(*words, **more)
        return self.end(process, code=code)

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start it in a session of its own, as a terminal or a scheduler does."""
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *words],
            env={**self.variables, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str], *, code: int) -> Done:
        """Wait for its end."""
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            for pid in [process.pid, *descendants(process.pid)]:
                os.kill(pid, signal.SIGKILL)
            raise
        assert code == process.returncode, out + err
        assert "Traceback" not in err
        return Done(code=process.returncode, out=out, err=err)

    def leases(self) -> list[str]:
        """The runs that hold something."""
        found: list[str] = json.loads(self.run("list").out)
        return found


def descendants(pid: int) -> list[int]:
    """The processes that it started, and those that they started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # gone meanwhile
        if parent == pid:
            child = int(path.parent.name)
            found += [child, *descendants(child)]
    return found


@pytest.fixture
def leaser(tmp_path: Path, pulumi_bin: Path, site: Site) -> Leaser:
    project = PulumiProject(
        folder=tmp_path,
        pulumi_bin=pulumi_bin,
        variables={
            "CLONEPOOL_ENDPOINT": site.engine.endpoint,
            "XDG_STATE_HOME": str(tmp_path / "state"),
        },
    )
    kept = {name: text for name, text in project.environment().items() if name not in UNSET}
    return Leaser(variables=kept)


def make_pool(site: Site, *, stock: int, fabric: str = "local", **spec: Any) -> str:
    master = site.image(system_user=CUSTOMER)
    return site.pool(master, min_ready=stock, fabric=fabric, scrub={"threshold": 9}, **spec)


def held(site: Site, pool: str) -> list[str]:
    """The servers with storage of the pool, or waiting for it."""
    return sorted(each.server_name for each in site.attachments() if each.spec.pool == pool)


def labelled_server(site: Site, **labels: str) -> str:
    """A server in the inventory."""
    name = site.new_name("server")
    wanted = pb.ServerSpec(name=name, initiator=f"iqn.2026-01.test:{name}", labels=labels)
    site.call("CreateServer", pb.CreateServerRequest(spec=wanted, request_token=name))
    return name


def take(run: str, pool: str, *, count: int = 1) -> Sequence[str]:
    return ("take", "--for-run", run, "--pool", pool, "--count", str(count))


def test_a_lease_is_taken_shown_and_given_back(site: Site, leaser: Leaser) -> None:
    """Each step twice: the second finds that the first was done."""
    pool = make_pool(site, stock=2)
    assert [] == leaser.leases()
    first = leaser.run(*take("nightly-7", pool, count=2)).servers
    assert ["nightly-7-1", "nightly-7-2"] == [each["server"] for each in first]
    assert [True, True] == [each["warm"] for each in first]
    assert all(Path(each["connection"]["volumes"][0]["path"]).exists() for each in first)
    assert "chap_secret" not in first[0]
    assert ["nightly-7-1", "nightly-7-2"] == held(site, pool)

    assert first == leaser.run(*take("nightly-7", pool, count=2)).servers
    assert first == leaser.run("show", "nightly-7").servers
    assert ["nightly-7"] == leaser.leases()

    assert "nightly-7: given back" in leaser.run("give-back", "nightly-7").err
    assert [] == held(site, pool)
    site.wait_for_counts(pool, released=2, allocated=0)
    assert "nightly-7: nothing was leased" in leaser.run("give-back", "nightly-7").err
    shown = leaser.run("show", "nightly-7", code=1)
    assert "error: nothing is leased for nightly-7; leases: none" == shown.err.strip()
    assert [] == leaser.leases()


@pytest.mark.tgt
def test_secrets_are_told_on_request_only_and_let_the_server_in(
    site: Site, leaser: Leaser, tmp_path: Path
) -> None:
    pool = make_pool(site, stock=1, fabric="iscsi")
    taken = leaser.run(*take("chap", pool))
    file = tmp_path / "secrets.json"
    file.write_text("somebody else's")
    file.chmod(0o644)
    leaser.run("show", "chap", "--secrets", str(file))
    assert 0o600 == file.stat().st_mode & 0o777
    account = json.loads(file.read_text())["chap-1"]
    secret = account["chap_secret"]
    assert len(secret) >= 12
    assert secret not in taken.out + taken.err
    (shown,) = leaser.run("show", "chap", "--show-secrets").servers
    assert secret == shown["chap_secret"]
    stored = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert stored
    assert [] == [path for path in stored if secret.encode() in path.read_bytes()]

    def log_in() -> None:
        Session(
            portal=shown["connection"]["portals"][0],
            target=shown["connection"]["target"],
            initiator="iqn.2026-01.com.example:chap-1",
            chap=ChapAccount(username=account["chap_username"], secret=secret),
        ).close()

    log_in()
    leaser.run("give-back", "chap")
    with pytest.raises(LoginRefused):
        log_in()


def test_servers_of_the_inventory_are_picked_by_their_labels(site: Site, leaser: Leaser) -> None:
    pool = make_pool(site, stock=2)
    names = sorted(labelled_server(site, role="test") for _ in range(2))
    words = (*take("picked", pool, count=2), "--label", "role=test")
    assert names == sorted(each["server"] for each in leaser.run(*words).servers)
    third = leaser.run(*take("third", pool), "--label", "role=test", code=1)
    assert "error: " in third.err
    assert ["picked"] == leaser.leases()
    leaser.run("give-back", "picked")


def test_leases_of_several_runs_at_once_don_t_know_of_each_other(
    site: Site, leaser: Leaser
) -> None:
    pool = make_pool(site, stock=4)
    runs = [f"run-{number}" for number in range(3)]
    started = [leaser.start(*take(run, pool)) for run in runs]
    for run, process in zip(runs, started, strict=True):
        assert [f"{run}-1"] == [each["server"] for each in leaser.end(process, code=0).servers]
    assert runs == leaser.leases()
    leaser.run("give-back", "run-1")
    assert ["run-0-1", "run-2-1"] == held(site, pool)
    ending = [leaser.start("give-back", run) for run in ("run-0", "run-2")]
    for process in ending:
        leaser.end(process, code=0)
    assert [] == held(site, pool)


def test_a_command_has_the_lease_for_as_long_as_it_runs(
    site: Site, leaser: Leaser, tmp_path: Path
) -> None:
    """The context manager: the command's exit code is the program's, and all is given back."""
    pool = make_pool(site, stock=1)
    kept = tmp_path / "lease.json"
    script = f'printf %s "$LEASE" >{kept}; stat -c %a "$LEASE_SECRETS"; exit 7'
    command = ("run", "--for-run", "block", "--pool", pool, "--", "/bin/sh", "-c", script)
    done = leaser.run(*command, code=7)
    assert "600" == done.out.strip()
    (server,) = json.loads(kept.read_text())["servers"]
    assert "block-1" == server["server"]
    assert ([], []) == (held(site, pool), leaser.leases())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_gives_back(
    site: Site, leaser: Leaser, tmp_path: Path, number: signal.Signals
) -> None:
    pool = make_pool(site, stock=1)
    begun = tmp_path / "begun"
    script = f"touch {begun}; exec sleep 1000"
    command = ("run", "--for-run", "cut", "--pool", pool, "--", "/bin/sh", "-c", script)
    process = leaser.start(*command)
    wait_for(begun.exists, what="the command to begin", timeout_s=120)
    assert ["cut-1"] == held(site, pool)
    os.killpg(process.pid, number)
    done = leaser.end(process, code=130)
    assert "giving back what was leased for cut" in done.err
    assert ([], []) == (held(site, pool), leaser.leases())


@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "scheduler"])
def test_ctrl_c_while_it_takes_gives_back_what_was_there_already(
    site: Site, leaser: Leaser, whole_group: bool
) -> None:
    """One server has its storage, the other one waits: Ctrl-C reaches Pulumi too, or us alone."""
    pool = make_pool(site, stock=1, max_replicas=1)
    process = leaser.start(*take("early", pool, count=2))
    wait_for(lambda: 2 == len(held(site, pool)), what="both to be asked for", timeout_s=120)
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    done = leaser.end(process, code=130)
    assert "interrupted" in done.err
    assert ([], []) == (held(site, pool), leaser.leases())


@pytest.mark.parametrize("all_of_it", [True, False], ids=["with Pulumi", "alone"])
def test_a_killed_lease_is_given_back_by_name(site: Site, leaser: Leaser, all_of_it: bool) -> None:
    """Killed with its Pulumi, a lock stays; alone, its Pulumi goes on for as long as it may."""
    pool = make_pool(site, stock=1, max_replicas=1)
    process = leaser.start(*take("killed", pool, count=2), "--timeout", "10s")
    wait_for(lambda: 2 == len(held(site, pool)), what="both to be asked for", timeout_s=120)
    for pid in [process.pid, *(descendants(process.pid) if all_of_it else [])]:
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)

    assert ["killed"] == leaser.leases()
    done = leaser.run("give-back", "killed")
    assert "killed: given back" in done.err
    assert all_of_it is ("breaking the lock of a Pulumi that is gone" in done.err)
    assert ([], []) == (held(site, pool), leaser.leases())
    site.wait_for_counts(pool, released=1)
    assert "nothing was leased" in leaser.run("give-back", "killed").err


def test_a_lease_that_was_kept_by_a_killed_program_is_given_back_by_another(
    site: Site, leaser: Leaser, tmp_path: Path
) -> None:
    pool = make_pool(site, stock=1)
    begun = tmp_path / "begun"
    script = f"touch {begun}; exec sleep 1000"
    command = ("run", "--for-run", "left", "--pool", pool, "--", "/bin/sh", "-c", script)
    process = leaser.start(*command)
    wait_for(begun.exists, what="the command to begin", timeout_s=120)
    for pid in [process.pid, *descendants(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    assert ["left-1"] == held(site, pool)
    assert ["left-1"] == [each["server"] for each in leaser.run("show", "left").servers]
    leaser.run("give-back", "left")
    assert [] == held(site, pool)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pool", "no-such-pool"), "error: there is no pool no-such-pool"),
        (("--pool", "any", "--for-run", "Not_A_Name"), "'Not_A_Name' is no name"),
        (("--pool", "any", "--count", "0"), "0 servers: 1 to 100 can be leased"),
    ],
)
def test_what_can_t_be_leased_is_said_in_one_line_and_leaves_nothing(
    leaser: Leaser, words: tuple[str, ...], said: str
) -> None:
    done = leaser.run("take", "--for-run", "bad", *words, code=1)
    (line,) = [each for each in done.err.splitlines() if each.startswith("error: ")]
    assert said in line
    assert [] == leaser.leases()


def test_a_label_without_a_value_is_wrong_usage(leaser: Leaser) -> None:
    done = leaser.run(*take("bad", "any"), "--label", "role", code=2)
    assert "'role' is not KEY=VALUE" in done.err


def test_an_engine_that_is_away_is_said_and_leaves_nothing(leaser: Leaser) -> None:
    words = take("away", "any")
    done = leaser.run(*words, code=1, CLONEPOOL_ENDPOINT="unix:///nowhere/engine.sock")
    assert "no engine answers at unix:///nowhere/engine.sock" in done.err
    assert [] == leaser.leases()


def test_the_backend_that_is_set_has_the_stacks(site: Site, leaser: Leaser, tmp_path: Path) -> None:
    pool = make_pool(site, stock=1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {
        "PULUMI_BACKEND_URL": elsewhere.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "given",
    }
    leaser.run(*take("there", pool), **variables)
    assert "there.json" in {path.name for path in elsewhere.rglob("*")}
    assert not (tmp_path / "state").exists()
    assert [] == leaser.leases()
    leaser.run("give-back", "there", **variables)


def test_without_pulumi_the_way_to_get_it_is_said(leaser: Leaser) -> None:
    done = leaser.run(*take("none", "any"), code=1, PATH="/usr/bin:/bin")
    assert "https://www.pulumi.com/docs/install/" in done.err
