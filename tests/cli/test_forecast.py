"""`clonepool forecast` on plans that the real Pulumi and Terraform wrote (recorded)."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clonepool.cli import ENGINE_AWAY, FORESEEN, OK, USAGE, main
from clonepool.cli.plan_changes import Reading
from clonepool.cli.plan_files import load, read_pulumi, read_terraform
from clonepool.domain.forecast import Attach, Outcome, PutImage, PutPool, PutServer, Remove
from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine
from tests.service.fake_forecasts import ANSWER

DYNAMIC = "pulumi-python:dynamic/clonepool:"
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
        (DYNAMIC, "clonepool:index:"),
        ("inline_server", "inlineServer"),
        ("max_replicas", "maxReplicas"),
        ("min_ready", "minReady"),
        ("master_image", "masterImage"),
        ("system_user", "systemUser"),
    ):
        text = text.replace(old, new)
    expected = read("pulumi-change.json").changes
    for change in expected:
        # its key is its URN, which has the type in it
        change.key = change.key.replace(DYNAMIC, "clonepool:index:")
        change.after[:] = [key.replace(DYNAMIC, "clonepool:index:") for key in change.after]
    assert expected == read_pulumi(json.loads(text)).changes


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


def test_one_volume_is_one(run: Run, engine: FakeEngine) -> None:
    pool = replace(ANSWER.pools[0], scrubbed=1, scrubbed_at_least=1, scrubbed_bytes=2**30)
    engine.forecasts.answer = replace(ANSWER, pools=(pool,))
    out = run("forecast", "pulumi", str(PLANS / "pulumi-change.json"))[1]
    assert "1 volume, 1 GiB: 1 reused" in out


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


FAILED_PREVIEW = {
    "steps": [],
    "diagnostics": [
        {"severity": "warning", "message": "slow"},
        {"severity": "error", "message": "<{%fg 1%}>KeyError: 'pool'<{%reset%}>\n"},
        {"severity": "error", "message": "second"},
    ],
}


@pytest.mark.parametrize(
    ("tool", "document", "words"),
    [
        (
            "pulumi",
            FAILED_PREVIEW,
            "is of a plan that failed: KeyError: 'pool'; mend that, then write it anew by `pulumi ",
        ),
        # it fails so early that it has no steps
        (
            "pulumi",
            {"diagnostics": [{"severity": "error", "message": "no stack"}]},
            "is of a plan that failed: no stack; mend that",
        ),
        (
            "terraform",
            {"format_version": "1.2", "errored": True, "resource_changes": []},
            "is of a plan that failed; mend that, then write it anew by `terraform show -json",
        ),
        (
            "terraform",
            {"format_version": "2.0", "resource_changes": []},
            "has format_version 2.0, and this Clonepool reads 0.x and 1.x",
        ),
    ],
)
def test_a_plan_that_failed_or_is_of_another_format_is_no_plan_at_all(
    run: Run, engine: FakeEngine, tmp_path: Path, tool: str, document: Any, words: str
) -> None:
    """What is in it would be forecast as all that happens, and no --fail-on would notice."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    code, out, err = run("forecast", tool, str(path), "--fail-on", "failures")
    assert (USAGE, "") == (code, out)
    assert words in err
    assert [] == engine.forecasts.plans


def test_a_preview_with_warnings_only_is_forecast(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**FAILED_PREVIEW, "diagnostics": [{"severity": "warning"}]}))
    assert OK == run("forecast", "pulumi", str(path))[0]


@pytest.mark.parametrize("content", [b"PK\x03\x04\xff\xfe\x00", b"[" * 100_000, b"", None])
@pytest.mark.parametrize(
    ("command", "made_by"),
    [
        ("forecast pulumi", "pulumi preview --json"),
        ("forecast terraform", "terraform show -json PLAN"),
        ("migrate pulumi", "pulumi stack export"),
    ],
)
def test_a_file_that_can_not_be_read_is_wrong_usage(
    run: Run, tmp_path: Path, command: str, made_by: str, content: bytes | None
) -> None:
    path = tmp_path / "given.json"
    if content is not None:
        path.write_bytes(content)
    for given in (path, tmp_path):
        code, out, err = run(*command.split(), str(given))
        assert (USAGE, "") == (code, out)
        assert str(given) in err
        assert f"`{made_by}`" in err
        assert "defect" not in err


def pulumi_step(**inputs: Any) -> dict[str, Any]:
    urn = "urn:pulumi:test::shop::pulumi-python:dynamic/clonepool:ReplicaPool::web-pool"
    state = {"type": "pulumi-python:dynamic/clonepool:ReplicaPool", "inputs": inputs}
    return {"op": "create", "urn": urn, "newState": state}


def terraform_change(kind: str = "replica_pool", **after: Any) -> dict[str, Any]:
    return {
        "address": f"clonepool_{kind}.x",
        "mode": "managed",
        "type": f"clonepool_{kind}",
        "change": {"actions": ["create"], "after": after},
    }


POOL = {"name": "web", "master_image": "web"}


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        ({**pulumi_step(), "newState": "text"}, "::web-pool) is not as `pulumi preview --json`"),
        (7, "resource 2 is not as `pulumi preview --json` writes it"),
        ({**pulumi_step(), "op": ["create"]}, "::web-pool) is not as"),
        (pulumi_step(**POOL, min_ready=2**40), "::web-pool) is not as"),
        (pulumi_step(**POOL, scrub={"max_age": "soon"}), "::web-pool): max_age: 'soon' is not"),
        (pulumi_step(**POOL, scrub={"undo_window": "soon"}), "::web-pool): undo_window: 'soon'"),
    ],
)
def test_what_is_wrong_with_one_step_of_a_preview_names_it(
    run: Run, engine: FakeEngine, tmp_path: Path, resource: Any, words: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"steps": [pulumi_step(**POOL), resource]}))
    code, out, err = run("forecast", "pulumi", str(path))
    assert (USAGE, "") == (code, out)
    assert err.startswith(f"error: {path}: resource 2")
    assert words in err
    assert [] == engine.forecasts.plans


@pytest.mark.parametrize(
    "resource",
    [
        7,
        {**terraform_change(**POOL), "address": None},
        {**terraform_change(**POOL), "change": {"actions": 5}},
        {**terraform_change(**POOL), "change": "text"},
        terraform_change("server_storage_attachment", name="a", system_user={"name": "acme"}),
        terraform_change(**POOL, min_ready=2**40),
        terraform_change(**POOL, min_ready="many"),
        terraform_change(**POOL, scrub={"max_age": "soon"}),
        terraform_change(**POOL, scrub={"max_age": 5}),
        terraform_change(**POOL, scrub={"max_bytes": "much"}),
        terraform_change("server", name="s", labels=5),
    ],
    ids=str,
)
def test_what_is_wrong_with_one_resource_of_a_plan_names_it(
    run: Run, engine: FakeEngine, tmp_path: Path, resource: Any
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"resource_changes": [resource]}))
    code, out, err = run("forecast", "terraform", str(path))
    assert (USAGE, "") == (code, out)
    label = f" ({resource['address']})" if resource != 7 and resource["address"] else ""
    assert err.startswith(f"error: {path}: resource 1{label}")
    assert "defect" not in err
    assert [] == engine.forecasts.plans


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
    monkeypatch.setattr("sys.stdin", io.StringIO('{"steps": [7]}'))
    assert "error: standard input: resource 1 is not" in run("forecast", "pulumi", "-")[2]


@pytest.mark.parametrize("tool", ["pulumi", "terraform"])
def test_json_is_asked_for_as_of_every_read(run: Run, tool: str) -> None:
    plan = str(PLANS / f"{tool}-change.json")
    code, out, _ = run("forecast", tool, plan, "--json")
    assert OK == code
    assert run("forecast", tool, plan, "--format", "json")[1] == out
    assert {"forecast", "hold", "notes"} == json.loads(out).keys()


def test_two_ways_to_print_are_refused(run: Run) -> None:
    plan = str(PLANS / "pulumi-change.json")
    code, _, err = run("forecast", "pulumi", plan, "--json", "--format", "markdown")
    assert USAGE == code
    assert "--json: is not --format markdown; give one" in err
