"""`clonepool forecast` on plans that the real Pulumi and Terraform wrote (recorded)."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.cli import ENGINE_AWAY, FORESEEN, OK, USAGE, main
from clonepool.cli.plan_changes import Reading
from clonepool.cli.plan_files import load, read_pulumi, read_terraform
from clonepool.domain.forecast import Attach, Outcome, PutImage, PutPool, PutServer, Remove
from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine
from tests.service.fake_forecasts import ANSWER

PLANS = Path(__file__).parents[1] / "fixtures/forecast"


def read(name: str) -> Reading:
    tool, _, _ = name.partition("-")
    key = "steps" if tool == "pulumi" else "resource_changes"
    document = load(str(PLANS / name), key=key, made_by=tool)
    return read_pulumi(document) if tool == "pulumi" else read_terraform(document)


def kinds(reading: Reading) -> list[tuple[str, str, bool, bool]]:
    return sorted(
        (str(c.WhichOneof("change")), c.label.rpartition(".")[2], c.create, c.first)
        for c in reading.changes
    )


@pytest.mark.parametrize("tool", ["pulumi", "terraform"])
def test_a_first_plan_creates_everything(tool: str) -> None:
    changes = read(f"{tool}-create.json").changes
    assert all(change.create and not change.first for change in changes)
    made = {change.WhichOneof("change"): change for change in changes}
    assert "web" == made["put_image"].put_image.spec.name
    assert "/images/base.img" == made["put_image"].put_image.spec.writable.source
    pool = made["put_pool"].put_pool
    assert ("web", "local", 2, 6) == (pool.name, pool.fabric, pool.min_ready, pool.max_replicas)
    assert 2 == pool.scrub.threshold
    assert 2 == sum(change.WhichOneof("change") == "attach" for change in changes)


@pytest.mark.parametrize("tool", ["pulumi", "terraform"])
def test_a_change_has_the_replacement_the_release_and_the_updates(tool: str) -> None:
    """A replacement releases first; what is only taken away is released at the end."""
    found = kinds(read(f"{tool}-change.json"))
    four = [("attach", "four", True, False)] if tool == "pulumi" else []
    expected = [
        *four,
        ("attach", "three", True, False),
        ("attach", "two", True, False),
        ("put_image", "web" if tool == "pulumi" else "image", False, False),
        ("put_pool", "web" if tool == "pulumi" else "pool", False, False),
        ("put_server", "host", True, False),
        ("release", "one", False, False),
        ("release", "two", False, True),
    ]
    assert expected == found


@pytest.mark.parametrize(("tool", "late"), [("pulumi", "four"), ("terraform", "three")])
def test_what_is_known_only_after_the_apply_is_said_and_left_open(tool: str, late: str) -> None:
    reading = read(f"{tool}-change.json")
    (note,) = reading.notes
    assert note.endswith("known only after the apply: inline_server.name")
    changes = {c.attach.name: c for c in reading.changes if c.WhichOneof("change") == "attach"}
    assert changes[late].attach.WhichOneof("server_ref") is None
    assert "web" == changes[late].attach.pool


def test_the_plugins_resources_are_read_like_those_of_the_classes() -> None:
    """Its type names and its camelCase differ, what they mean does not."""
    text = (PLANS / "pulumi-change.json").read_text()
    for old, new in (
        ("pulumi-python:dynamic/clonepool:", "clonepool:index:"),
        ("inline_server", "inlineServer"),
        ("max_replicas", "maxReplicas"),
        ("min_ready", "minReady"),
        ("master_image", "masterImage"),
        ("system_user", "systemUser"),
    ):
        text = text.replace(old, new)
    assert read("pulumi-change.json").changes == read_pulumi(json.loads(text)).changes


@pytest.mark.parametrize("tool", ["pulumi", "terraform"])
def test_the_engine_is_asked_about_the_whole_plan(run: Run, engine: FakeEngine, tool: str) -> None:
    code, out, _ = run("forecast", tool, str(PLANS / f"{tool}-change.json"))
    assert OK == code
    (plan,) = engine.forecasts.plans
    assert (tool == "pulumi") is plan.stop_at_failure
    asked = {type(change) for change in plan.changes}
    assert {Attach, PutImage, PutPool, PutServer, Remove} == asked
    first = out.splitlines()[0]
    assert "1 of 3 attachments warm, 1 wait, 4 volumes (4 GiB) scrubbed, 1 failure" == first
    assert "3 to 4 volumes, 4 GiB: 1 reused, 3 destroyed" in out
    assert "server web3 serves customer acme; release those first, then run again" in out
    assert "known only after the apply" in out


def test_markdown_is_for_a_comment_and_names_make_no_markup(run: Run, engine: FakeEngine) -> None:
    code, out, _ = run("forecast", "pulumi", str(PLANS / "pulumi-change.json"), "--format=markdown")
    assert OK == code
    assert out.startswith("### Clonepool: 1 of 3 attachments warm")
    assert "| three | web | fails |  | SERVER\\_TAKEN |" in out


@pytest.mark.parametrize(
    ("outcome", "fails", "never", "failures", "waits"),
    [
        (Outcome.FAILS, True, OK, FORESEEN, FORESEEN),
        (Outcome.WAITS, False, OK, OK, FORESEEN),
        (Outcome.WARM, True, OK, FORESEEN, FORESEEN),
        (Outcome.WARM, False, OK, OK, OK),
        (Outcome.UNKNOWN, False, OK, OK, OK),
    ],
)
def test_the_exit_code_tells_of_what_it_was_told_to_fail_on(
    run: Run,
    engine: FakeEngine,
    outcome: Outcome,
    fails: bool,
    never: int,
    failures: int,
    waits: int,
) -> None:
    """The forecast is printed all the same."""
    engine.forecasts.answer = replace(
        ANSWER,
        attachments=(replace(ANSWER.attachments[0], outcome=outcome),),
        failures=ANSWER.failures if fails else (),
    )
    for tool in ("pulumi", "terraform"):
        command = ("forecast", tool, str(PLANS / f"{tool}-change.json"), "--fail-on")
        ended = {word: run(*command, word) for word in ("never", "failures", "waits")}
        assert {"never": never, "failures": failures, "waits": waits} == {
            word: code for word, (code, _, _) in ended.items()
        }
        assert 1 == len({out for _, out, _ in ended.values()})
        assert "attachment" in ended["waits"][1]
    assert USAGE == run(*command, "sometimes")[0]


def test_json_has_every_field_and_the_notes(run: Run, engine: FakeEngine) -> None:
    code, out, _ = run(
        "forecast", "terraform", str(PLANS / "terraform-change.json"), "--format=json"
    )
    assert OK == code
    document = json.loads(out)
    assert ["warm", "waits", "fails"] == [a["outcome"] for a in document["forecast"]["attachments"]]
    assert 1 == len(document["notes"])


@pytest.mark.parametrize("style", ["table", "markdown", "json"])
def test_without_an_engine_it_says_so_and_succeeds(
    style: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A preview must not fail because of it; every other command does, with its own exit code."""
    monkeypatch.setenv("CLONEPOOL_ENDPOINT", "unix:///nowhere/engine.sock")
    plan = str(PLANS / "pulumi-change.json")
    words = [f"--format={style}", "--fail-on=waits"]
    assert OK == main(["forecast", "pulumi", plan, *words])
    said = capsys.readouterr()
    assert "no forecast: no engine answers at unix:///nowhere/engine.sock" in said.out
    assert style == "json" or 1 == len(said.out.splitlines())
    assert ENGINE_AWAY == main(["pool", "list"])


def test_a_file_that_is_no_plan_is_refused_with_the_command_that_makes_one(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text("[1]")
    code, _, err = run("forecast", "terraform", str(path))
    assert USAGE == code
    assert "terraform show -json PLAN" in err


def test_an_empty_plan_asks_for_nothing(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"steps": [{"op": "same", "urn": "urn:x::y"}]}')
    assert OK == run("forecast", "pulumi", str(path))[0]
    assert () == engine.forecasts.plans[0].changes


def test_a_plan_may_come_from_standard_input(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO((PLANS / "pulumi-create.json").read_text()))
    assert OK == run("forecast", "pulumi", "-", "--format", "json")[0]
    assert 4 == len(engine.forecasts.plans[0].changes)
