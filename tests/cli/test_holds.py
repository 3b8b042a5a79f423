"""`clonepool hold`, and the commands that bring a ticket."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from clonepool.cli import FAILED, OK, USAGE
from clonepool.cli.words import until
from clonepool.domain.forecast import AttachmentForecast, Forecast, Outcome, Plan
from clonepool.domain.holds import HeldStock, Hold, Wanted
from clonepool.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from tests.cli.conftest import Run
from tests.service import fake_forecasts
from tests.service.fake_engine import FakeEngine
from tests.service.fake_values import NOW

PLAN = str(Path(__file__).parents[1] / "fixtures/forecast/pulumi-change.json")
TERRAFORM_PLAN = str(Path(__file__).parents[1] / "fixtures/forecast/terraform-change.json")
UNTIL = until(Timestamp(seconds=int(NOW) + 1800))


def create(run: Run, *more: str) -> str:
    return run("hold", "create", "--pool", "web", "--count", "3", "--for", "30m", *more)[1]


def test_create_prints_the_ticket_until_when_and_how_to_use_it(
    run: Run, engine: FakeEngine
) -> None:
    out = create(run, "--owner", "PR 7")
    assert [("create", (Wanted(pool="web", count=3),))] == engine.holds.calls
    assert f"ticket   ticket-1\nleft     3 of 3 of web\nowner    PR 7\nuntil    {UNTIL}\n" in out
    assert out.endswith("\nuse it: CLONEPOOL_HOLD=ticket-1\n")


def test_each_create_makes_a_ticket_of_its_own(run: Run, engine: FakeEngine) -> None:
    made = [json.loads(create(run, "--json"))["id"] for _ in range(2)]
    assert ["ticket-1", "ticket-2"] == made


def test_list_show_and_release(run: Run, engine: FakeEngine) -> None:
    create(run)
    assert f"ticket-1  3 of 3 of web  -      {UNTIL}" in run("hold", "list")[1]
    unknown = (FAILED, "", "error: pool front is not there\n")
    assert unknown == run("hold", "list", "--pool", "front")
    assert 3 == json.loads(run("hold", "show", "ticket-1", "--json")[1])["pools"][0]["remaining"]
    released = run("hold", "release", "ticket-1")
    assert (OK, "ticket ticket-1 holds nothing any more\n", "") == released
    for absent in ("ticket-1", "never-was"):
        told = f"nothing to give back: there is no ticket {absent}\n"
        assert (OK, "", told) == run("hold", "release", absent)
    assert [] == json.loads(run("hold", "list", "--json")[1])
    assert (FAILED, "", "error: there is no ticket ticket-1\n") == run("hold", "show", "ticket-1")


@pytest.mark.parametrize(
    "words",
    [
        ["--count", "0"],
        ["--pool", "a", "--for", "0.5s"],
        ["--count", "-1"],
        ["--count", "1.5"],
        ["--count", "99999999999"],
        ["--for", "soon"],
        ["--for", "0s"],
        ["--for", "-1h"],
        ["--owner", "a\nb"],
        ["--pool", "No Such"],
    ],
    ids=" ".join,
)
def test_what_can_not_be_meant_is_wrong_usage(
    run: Run, engine: FakeEngine, words: list[str]
) -> None:
    code, out, err = run("hold", "create", *([] if "--pool" in words else ["--pool=web"]), *words)
    assert (USAGE, "") == (code, out)
    assert 1 == len(err.splitlines())
    assert words[-2] in err
    assert [] == engine.holds.calls


def test_a_refusal_is_one_line_and_fails(run: Run, engine: FakeEngine) -> None:
    code, _, err = run("hold", "create", "--pool", "web", "--count", "9")
    assert (FAILED, "error: only 5 to hold\n") == (code, err)


def attach(run: Run, name: str, *more: str) -> tuple[int, str, str]:
    words = ("--pool", "web", "--server", "s", "--system-user", "customer/acme")
    return run("attach", name, *words, *more)


def test_attach_brings_the_ticket_of_its_option_or_of_the_environment(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(run, "a")
    monkeypatch.setenv("CLONEPOOL_HOLD", " from-the-environment\n")
    attach(run, "b")
    attach(run, "c", "--hold", "from-the-option")
    expected = ["", "from-the-environment", "from-the-option"]
    assert expected == engine.attachments.tickets


def test_attach_warns_of_a_ticket_that_is_no_use_and_goes_on(run: Run, engine: FakeEngine) -> None:
    code, out, err = attach(run, "a", "--hold", "spent")
    assert OK == code
    assert "state             attached" in out
    said = "ticket spent is used up: its 3 of pool web are taken; it goes on without"
    assert f"warning: {said}\n" == err


HELD = AttachmentForecast(label="one", name="one", pool="web", outcome=Outcome.WARM, held=True)


@pytest.fixture
def held(engine: FakeEngine) -> FakeEngine:
    """With a ticket the forecast's warm attachment is a held one."""
    plain, asked = engine.forecasts.make, fake_forecasts.ANSWER
    by_ticket = fake_forecasts.with_held(asked, HELD)
    engine.forecasts.make = lambda *, plan: by_ticket if plan.hold else plain(plan=plan)
    return engine


@pytest.mark.parametrize(
    ("tool", "plan", "apply"),
    [("pulumi", PLAN, "pulumi up"), ("terraform", TERRAFORM_PLAN, "terraform apply")],
)
def test_a_forecast_holds_what_is_warm_and_says_until_when(
    run: Run, held: FakeEngine, tool: str, plan: str, apply: str
) -> None:
    code, out, _ = run("forecast", tool, plan, "--hold", "30m", "--owner", "PR 7")
    assert OK == code
    assert [("create", (Wanted(pool="web", count=1),))] == held.holds.calls
    assert out.startswith(f"1 of 3 attachments warm, held until {UNTIL}, 1 wait")
    assert re.search(r"one +web +warm, held", out)
    assert out.endswith(f"\nuse what is held: CLONEPOOL_HOLD=ticket-1 {apply}\n")


def test_the_comment_on_a_change_says_how_to_use_the_ticket(run: Run, held: FakeEngine) -> None:
    out = run("forecast", "pulumi", PLAN, "--hold", "30m", "--format", "markdown")[1]
    assert out.startswith(f"### Clonepool: 1 of 3 attachments warm, held until {UNTIL}")
    assert "```sh\nCLONEPOOL_HOLD=ticket-1 pulumi up\n```" in out


def test_a_program_finds_the_ticket_in_the_json(run: Run, held: FakeEngine) -> None:
    out = run("forecast", "pulumi", PLAN, "--hold", "30m", "--format", "json")[1]
    document = json.loads(out)
    assert "ticket-1" == document["hold"]["id"]
    assert [True, False, False] == [a["held"] for a in document["forecast"]["attachments"]]


def test_a_hold_that_is_refused_is_said_and_the_forecast_is_printed(
    run: Run, engine: FakeEngine
) -> None:
    engine.holds.fail = ResourceExhausted("at most 2 of pool web may be held at once")
    code, out, err = run("forecast", "pulumi", PLAN, "--hold", "30m")
    assert (OK, "") == (code, err)
    assert out.startswith("1 of 3 attachments warm, 1 wait")
    assert "nothing is held: at most 2 of pool web may be held at once" in out
    assert "CLONEPOOL_HOLD" not in out


def test_where_nothing_is_warm_nothing_is_held(run: Run, engine: FakeEngine) -> None:
    engine.forecasts.make = lambda **_asked: fake_forecasts.with_held(fake_forecasts.ANSWER)
    out = run("forecast", "pulumi", PLAN, "--hold", "30m")[1]
    assert "nothing is held: no attachment finds stock to hold" in out
    assert [] == engine.holds.calls


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_forecast_counts_on_a_ticket_that_is_there(
    run: Run, held: FakeEngine, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    create(run)
    if by == "environment":
        monkeypatch.setenv("CLONEPOOL_HOLD", "ticket-1")
    out = run("forecast", "pulumi", PLAN, *(["--ticket=ticket-1"] if by == "option" else []))[1]
    assert out.startswith(f"1 of 3 attachments warm, held until {UNTIL}")
    assert 1 == len(held.holds.made)


def test_a_ticket_that_is_over_is_said(run: Run, held: FakeEngine) -> None:
    code, out, _ = run("forecast", "pulumi", PLAN, "--ticket", "gone")
    assert OK == code
    assert "nothing is held for this plan: there is no ticket gone" in out


@pytest.mark.parametrize(
    ("pool", "taken", "why"),
    [
        ("front", 0, "it holds 3 of pool front, and no attachment of the plan is of such a pool"),
        ("web", 3, "all that it held is taken; leave it out, or hold anew by --hold"),
        ("web", 0, "it holds 3 of pool web, and no attachment of the plan comes to take that"),
    ],
)
@pytest.mark.parametrize("style", ["table", "markdown"])
def test_a_ticket_that_is_no_use_to_the_plan_is_not_offered_but_explained(
    run: Run, engine: FakeEngine, style: str, pool: str, taken: int, why: str
) -> None:
    stock = HeldStock(pool=pool, count=3, remaining=3 - taken)
    engine.holds.made["t"] = Hold(
        id="mine", owner="", pools=(stock,), created_at=NOW, expires_at=NOW + 60
    )
    code, out, _ = run("forecast", "pulumi", PLAN, "--ticket=mine", f"--format={style}")
    assert OK == code
    assert f"ticket mine is no use to this plan: {why}" in out
    assert "CLONEPOOL_HOLD" not in out


def test_a_ticket_that_was_made_is_named_where_the_engine_then_went_away(
    run: Run, engine: FakeEngine
) -> None:
    plain = engine.forecasts.make

    def away_later(*, plan: Plan) -> Forecast:
        if plan.hold:
            raise FailedPrecondition("it goes down")
        return plain(plan=plan)

    engine.forecasts.make = away_later
    out = run("forecast", "pulumi", PLAN, "--hold", "30m")[1]
    assert "ticket ticket-1 is made; the engine went away before a forecast with it" in out


def test_a_pool_that_the_plan_makes_has_nothing_to_hold(run: Run, engine: FakeEngine) -> None:
    made = fake_forecasts.ANSWER
    new = replace(made.pools[0], name="new", created=True)
    warm = [
        replace(made.attachments[0], name=f"at-{pool}", pool=pool) for pool in ("new", "web", "new")
    ]
    answer = replace(made, attachments=tuple(warm), pools=(*made.pools, new))
    engine.forecasts.make = lambda **_asked: answer
    run("forecast", "pulumi", PLAN, "--hold", "30m")
    assert [("create", (Wanted(pool="web", count=1),))] == engine.holds.calls


def test_the_summary_says_how_many_of_the_warm_ones_are_held(run: Run, engine: FakeEngine) -> None:
    """The word alone would say that all of them are."""
    create(run)
    warm = [replace(HELD, name=f"at-{n}", held=n < 3) for n in range(4)]
    answer = fake_forecasts.with_held(fake_forecasts.ANSWER, *warm)
    engine.forecasts.make = lambda **_asked: answer
    out = run("forecast", "pulumi", PLAN, "--ticket", "ticket-1")[1]
    assert out.startswith(f"4 of 6 attachments warm, 3 of them held until {UNTIL}, 1 wait")


def test_to_hold_and_to_bring_a_ticket_is_wrong_usage(run: Run, held: FakeEngine) -> None:
    code, _, err = run("forecast", "pulumi", PLAN, "--hold", "30m", "--ticket", "ticket-1")
    assert USAGE == code
    assert "--hold" in err
    code, _, err = run("forecast", "pulumi", PLAN, "--hold", "soon")
    assert (USAGE, 1) == (code, len(err.splitlines()))
    assert [] == held.holds.calls


def test_what_the_engine_refuses_is_said_by_the_name_of_its_option(
    run: Run, engine: FakeEngine
) -> None:
    out = run("forecast", "pulumi", PLAN, "--hold", "30m", "--owner", "a\nb")[1]
    assert "nothing is held: --owner: " in out
    engine.holds.fail = InvalidArgument.field("duration_s", "at most 1h")
    out = run("forecast", "pulumi", PLAN, "--hold", "30m")[1]
    assert "nothing is held: --hold: at most 1h" in out


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--owner", "PR 7"], "--owner: is whom --hold holds for"),
        (["--hold", "0s"], "--hold: 0s must be at least 1 second"),
    ],
)
def test_what_a_forecast_can_not_hold_is_wrong_usage_by_the_name_of_its_option(
    run: Run, engine: FakeEngine, words: list[str], flag: str
) -> None:
    code, out, err = run("forecast", "pulumi", PLAN, *words)
    assert (USAGE, "") == (code, out)
    assert f"error: {flag}" in err
    assert [] == engine.holds.calls


@pytest.mark.parametrize("style", ["table", "markdown", "json"])
def test_without_an_engine_nothing_is_held_and_it_succeeds(
    style: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setenv("CLONEPOOL_ENDPOINT", "unix:///nowhere/engine.sock")
    code, out, err = run("forecast", "pulumi", PLAN, "--hold", "30m", f"--format={style}")
    assert (OK, "") == (code, err)
    assert "no forecast: no engine answers" in out
    assert style == "json" or 1 == len(out.splitlines())


def test_a_time_of_another_day_has_its_date() -> None:
    at = Timestamp(seconds=1_800_000_000)
    assert "08:00 (UTC)" == until(at, now=1_800_000_000)
    assert "2027-01-15 08:00 (UTC)" == until(at, now=1_800_000_000 - 86400)
