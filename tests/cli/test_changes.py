"""Commands that change something: the request they make, and how they wait."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clonepool.domain.states import (
    AfterScrub,
    ChapMode,
    CloneMode,
    ScrubMethod,
    WhenEmpty,
)
from clonepool.service.server import EngineServer
from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine
from tests.service.fake_values import ACME

CLONEPOOL = Path(sys.executable).parent / "clonepool"


def test_image_create_makes_what_was_asked(run: Run, engine: FakeEngine) -> None:
    code, out, _ = run(
        "image", "create", "web",
        "--writable", "/srv/web.qcow2", "--writable-size", "20GiB",
        "--writable-sha256", "ab" * 32,
        "--read-only", "https://example.org/base.raw",
        "--system-user", "customer/acme",
        "--file", "/etc/motd=hello=there", "--label", "tier=front", "--label", "x=",
        "--no-wait",
    )  # fmt: skip

    spec = engine.images.calls[0][1]
    assert code == 0
    assert "is being imported" in out
    assert spec.system_user == ACME
    assert (spec.writable.source, spec.writable.size_bytes) == ("/srv/web.qcow2", 20 * 2**30)
    assert spec.read_only.source == "https://example.org/base.raw"
    assert [(f.path, f.content) for f in spec.preconfigure] == [("/etc/motd", "hello=there")]
    assert spec.labels == {"tier": "front", "x": ""}


def test_image_create_waits_for_the_import_and_then_gives_up(run: Run) -> None:
    code, _, error = run("image", "create", "web", "--writable", "/srv/w", "--timeout", "100ms")

    assert code == 1
    assert error == (
        "error: image web is still being imported (512 B of 1 KiB) after 100ms; "
        "the import goes on; see clonepool image show web\n"
    )


def test_pool_create_makes_what_was_asked(run: Run, engine: FakeEngine) -> None:
    code, out, _ = run(
        "pool", "create", "web", "--image", "base", "--min-ready", "3", "--max-replicas", "9",
        "--fabric", "local", "--image-version", "2", "--clone-mode", "thin",
        "--when-empty", "fail", "--wait-for-ready", "2", "--max-unavailable", "4",
        "--scrub-threshold", "5", "--scrub-method", "zero", "--after-scrub", "destroy",
    )  # fmt: skip

    spec = engine.pools.calls[0][1]
    assert code == 0
    assert "keep 3 ready, at most 9" in out
    assert (spec.master_image, spec.image_version, spec.fabric) == ("base", 2, "local")
    assert (spec.clone_mode, spec.when_empty) == (CloneMode.THIN, WhenEmpty.FAIL)
    assert (spec.wait_for_ready, spec.max_unavailable) == (2, 4)
    assert spec.scrub.threshold == 5
    assert (spec.scrub.method, spec.scrub.then) == (ScrubMethod.ZERO, AfterScrub.DESTROY)


def test_the_same_create_again_finds_the_same_thing(run: Run, engine: FakeEngine) -> None:
    first = run("server", "create", "web1", "--label", "a=b")
    second = run("server", "create", "web1", "--label", "a=b")
    other = run("server", "create", "web1", "--label", "a=c")

    assert first[0] == second[0] == 0
    assert len(engine.servers.items) == 1
    assert other[0] == 1
    assert other[2].startswith("error: server web1 exists with id ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--server", "web1"), {"server": "web1"}),
        (("--initiator", "iqn.2026-01.com.example:x"), {"inline_server": "data"}),
        (
            ("--initiator", "iqn.2026-01.com.example:x", "--server", "guest"),
            {"inline_server": "guest"},
        ),
        (("--select", "a=b", "--select", "c=d"), {"server_selector": {"a": "b", "c": "d"}}),
    ],
)
def test_attach_names_the_server_in_one_of_three_ways(
    run: Run, engine: FakeEngine, arguments: tuple[str, ...], expected: dict[str, Any]
) -> None:
    code, _, _ = run("attach", "data", "--pool", "web", *arguments, "--chap", "none")

    spec = engine.attachments.calls[0][1]
    found = {
        "server": spec.server,
        "inline_server": spec.inline_server.name if spec.inline_server else "",
        "server_selector": spec.server_selector,
    }
    assert code == 0
    assert {key: value for key, value in found.items() if value} == expected
    assert spec.chap.mode is ChapMode.NONE


def test_attach_waits_for_its_turn(run: Run, engine: FakeEngine) -> None:
    engine.attachments.waiting = 3

    code, out, _ = run("attach", "data", "--pool", "web", "--server", "web1", "--json")

    assert code == 0
    assert json.loads(out)["state"] == "attached"
    assert [verb for verb, _ in engine.attachments.calls] == ["create"] * 4


def test_attach_without_waiting_tells_the_place(run: Run, engine: FakeEngine) -> None:
    engine.attachments.waiting = 99

    code, out, _ = run("attach", "data", "--pool", "web", "--server", "web1", "--no-wait")

    assert code == 0
    assert "waiting, place 2 in the queue" in out
    assert len(engine.attachments.items) == 1


def test_attach_that_gives_up_gives_its_place_back(run: Run, engine: FakeEngine) -> None:
    engine.attachments.waiting = 10**6

    code, _, error = run(
        "attach", "data", "--pool", "web", "--server", "web1", "--timeout", "200ms"
    )

    assert code == 1
    assert error == (
        "error: attachment data is still waiting, place 2 in the queue for pool web after 200ms; "
        "its place is given back; raise the pool's max_replicas, scrub released volumes "
        "(`clonepool scrub run web`), or set --timeout, then run it again\n"
    )
    assert engine.attachments.calls[-1][0] == "delete"
    assert engine.attachments.items == {}


def test_attach_interrupted_gives_its_place_back(server: EngineServer, engine: FakeEngine) -> None:
    """Ctrl-C in the queue: exit code 130, no traceback, nobody's place is kept."""
    engine.attachments.waiting = 10**6
    command = [CLONEPOOL, "attach", "data", "--pool", "web", "--server", "web1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while len(engine.attachments.calls) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)

    assert (130, "", "") == (process.returncode, out, error)
    assert engine.attachments.items == {}


def test_attach_shows_no_secret_unless_asked(run: Run) -> None:
    plain = run("attach", "data", "--pool", "web", "--server", "web1")[1]
    asked = run("attach", "data", "--pool", "web", "--server", "web1", "--secret")[1]

    assert "made-by-the-engine" not in plain
    assert "made-by-the-engine" in asked


def test_release_of_a_busy_server_needs_force(run: Run, engine: FakeEngine) -> None:
    run("attach", "busy", "--pool", "web", "--server", "web1")

    refused = run("release", "busy")
    forced = run("release", "busy", "--force")

    assert refused == (
        1,
        "",
        "error: server web1 is logged in to attachment busy; log out, or release with --force\n",
    )
    assert forced[0] == 0
    assert engine.attachments.items == {}


def test_release_of_what_is_not_there_fails(run: Run) -> None:
    assert run("release", "gone") == (1, "", "error: attachment gone is not there\n")


@pytest.mark.parametrize("kind", ["image", "pool", "server"])
def test_delete_by_name(run: Run, engine: FakeEngine, kind: str) -> None:
    more = {"image": ("--writable", "/w", "--no-wait"), "pool": ("--image", "web"), "server": ()}
    run(kind, "create", "web", *more[kind])

    code, out, _ = run(kind, "delete", "web")

    assert code == 0
    assert out.startswith(f"{kind} web deleted")
    assert getattr(engine, f"{kind}s").items == {}


def test_scrub_run_says_when_there_is_nothing(run: Run) -> None:
    assert run("scrub", "run", "clean") == (
        0,
        "pool clean has no released volumes\n",
        "",
    )


def test_scrub_run_tells_its_id(run: Run) -> None:
    code, out, _ = run("scrub", "run", "web")

    assert code == 0
    assert out.startswith("scrub run run-1 of 10 volumes: running (4 scrubbed")


def test_pool_reset_and_operation_cancel(run: Run, engine: FakeEngine) -> None:
    run("pool", "create", "web", "--image", "web")

    assert run("pool", "reset", "web")[0] == 0
    assert run("operation", "cancel", "operation-1")[0] == 0
    assert "reset" in [verb for verb, _ in engine.pools.calls]
    assert engine.operations.calls[-1][0] == "cancel"


def test_pool_watch_ends_when_enough_is_ready(run: Run) -> None:
    run("pool", "create", "web", "--image", "web")

    code, out, _ = run("pool", "watch", "web", "--until-ready", "3", "--json")

    assert code == 0
    assert [json.loads(line)["counts"]["ready"] for line in out.splitlines()] == [3]


def test_events_can_be_followed(server: EngineServer, engine: FakeEngine) -> None:
    engine.events.add("pool/web", "old")
    command = [CLONEPOOL, "events", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["message"] == "old"
        engine.events.add("pool/web", "new")
        assert json.loads(process.stdout.readline())["message"] == "new"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
