"""examples/ci-preview/preview.py on recorded plans, with a real engine behind it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ci_job import Done, Job
from tests.support.site import Site
from tests.support.waiting import wait_for

RECORDED = Path(__file__).parents[1] / "fixtures/forecast"
VENV_BIN = Path(sys.executable).parent
DONE, FAILED, FORESEEN = 0, 1, 4
# stands in the recorded plans, as an input in the clear
INPUT = "/images/base.img"
STAND_IN = """\
#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$1" in preview | show) cat "$RECORDED" ;; *) cat "$RECORDED" && exit "${FAILS:-0}" ;; esac
test "$1" != preview || exit "${FAILS:-0}"
"""
ENDLESS = """\
#!/bin/bash
trap 'echo told to stop >>"$CALLS"; exit 1' INT
cat "$RECORDED"
echo begun >>"$CALLS"
while :; do sleep 0.05; done
"""
Preview = Callable[..., Done]


@pytest.fixture
def job(tmp_path: Path, site: Site) -> Job:
    """A job whose pulumi and terraform print what the real ones once did."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("pulumi", "terraform", "tofu"):
        write_program(programs / name, STAND_IN)
    made = Job(folder=tmp_path, variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint})
    made.event()
    return made


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def variables(job: Job, recorded: Path) -> dict[str, str]:
    own = job.environment()["PATH"]
    return {
        "PATH": f"{job.folder}/bin:{VENV_BIN}:{own}",
        "CALLS": str(job.folder / "calls"),
        "RECORDED": str(recorded),
    }


@pytest.fixture
def preview(job: Job) -> Preview:
    def run(tool: str, *words: str, plan: str = "create", **more: str) -> Done:
        kind = "pulumi" if tool == "pulumi" else "terraform"
        known = variables(job, RECORDED / f"{kind}-{plan}.json")
        argv = (tool, "--markdown", str(job.markdown), "--directory", str(job.folder), *words)
        return job.run("preview.py", *argv, **{**known, **more})

    return run


def calls(job: Job) -> list[str]:
    path = job.folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def assert_nothing_told(job: Job, done: Done) -> None:
    """Neither the log nor a file nor the comment has what the plan holds."""
    assert [] == job.leftovers()
    assert INPUT not in done.out + done.err + job.markdown.read_text()


@pytest.mark.parametrize("plan", ["create", "change"])
@pytest.mark.parametrize("tool", ["pulumi", "terraform", "tofu"])
def test_a_recorded_plan_becomes_a_forecast_in_markdown(
    job: Job, preview: Preview, tool: str, plan: str
) -> None:
    done = preview(tool, plan=plan)
    assert DONE == done.code, done.err
    text = job.markdown.read_text()
    # one of the program comes after another one, which waits: by then there is stock again
    warm = 2 if (tool, plan) == ("pulumi", "change") else 1
    assert text.startswith(f"### Clonepool: {warm} of ")
    assert "attachments warm" in done.out
    assert "| web (created) | 0 -\\> 2 |" in text
    assert_nothing_told(job, done)


def test_options_are_words_for_the_preview_and_for_the_forecast(job: Job, preview: Preview) -> None:
    """As a shell splits them, and without one: nothing in them is carried out."""
    away = "--forecast-options=--endpoint 'unix:///no where/engine.sock'"
    done = preview("pulumi", "--preview-options", '--stack "my stack" $(touch x) ; false', away)
    assert DONE == done.code
    told = "pulumi preview --json --non-interactive --stack my stack $(touch x) ; false"
    assert [told] == calls(job)
    assert "no engine answers at unix:///no where/engine.sock" in job.markdown.read_text()
    assert not (job.folder / "x").exists()


def test_terraform_is_initialized_and_its_plan_is_kept_from_the_log(
    job: Job, preview: Preview
) -> None:
    done = preview("terraform", "--preview-options=-var-file=dev.tfvars")
    assert ["init", "plan", "show"] == [each.split()[1] for each in calls(job)]
    assert calls(job)[1].endswith("-var-file=dev.tfvars")
    assert_nothing_told(job, done)


@pytest.mark.parametrize(
    ("fail_on", "code"), [("never", DONE), ("failures", DONE), ("waits", FORESEEN)]
)
def test_a_forecast_with_a_wait_ends_as_it_was_told(
    job: Job, preview: Preview, fail_on: str, code: int
) -> None:
    assert code == preview("pulumi", "--fail-on", fail_on).code
    assert "1 of 2 attachments warm, 1 wait" in job.markdown.read_text()


@pytest.mark.parametrize(
    ("fail_on", "code"), [("never", DONE), ("failures", FORESEEN), ("waits", FORESEEN)]
)
def test_a_forecast_with_a_failure_ends_as_it_was_told(
    job: Job, preview: Preview, tmp_path: Path, fail_on: str, code: int
) -> None:
    text = (RECORDED / "pulumi-create.json").read_text()
    bad = tmp_path / "bad.json"
    bad.write_text(text.replace('"fabric": "local"', '"fabric": "nowhere"'))
    done = preview("pulumi", "--fail-on", fail_on, RECORDED=str(bad))
    assert code == done.code, done.err
    assert "| fails | reason | what to do |" in job.markdown.read_text()


@pytest.mark.parametrize("endpoint", ["unix:///nowhere/engine.sock", "tcp://SAN1.example:9"])
def test_without_an_engine_one_line_says_so_and_the_job_passes(
    job: Job, preview: Preview, endpoint: str
) -> None:
    """The line does not tell where the engine is: GitHub hides secrets in logs only."""
    done = preview("pulumi", "--fail-on=waits", CLONEPOOL_ENDPOINT=endpoint)
    assert DONE == done.code, done.err
    (line,) = job.markdown.read_text().splitlines()
    assert line.startswith("**Clonepool:** no forecast: no ")
    assert "$CLONEPOOL_ENDPOINT" in line
    assert endpoint.partition("//")[2].lower() not in line.lower()
    assert_nothing_told(job, done)


@pytest.mark.parametrize("from_fork", [True, False], ids=["fork", "no endpoint"])
def test_where_there_are_no_secrets_nothing_is_run(
    job: Job, preview: Preview, from_fork: bool
) -> None:
    job.event(fork=from_fork)
    done = preview("pulumi", "--fail-on=waits", **({} if from_fork else {"CLONEPOOL_ENDPOINT": ""}))
    assert DONE == done.code, done.err
    assert [] == calls(job)
    why = "from a fork is given no secrets" if from_fork else "CLONEPOOL_ENDPOINT is not set"
    assert why in job.markdown.read_text()


@pytest.mark.parametrize(
    ("tool", "what"), [("pulumi", "pulumi preview"), ("terraform", "terraform init")]
)
def test_a_preview_that_fails_fails_the_job_and_says_so(
    job: Job, preview: Preview, tool: str, what: str
) -> None:
    done = preview(tool, FAILS="3")
    assert FAILED == done.code
    said = f"**Clonepool:** no forecast: {what} failed (exit code 3); the job's log says why"
    assert said == job.markdown.read_text()
    assert_nothing_told(job, done)


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["--forecast-options=--nonsense"], {}, "--nonsense"),
        ([], {"CLONEPOOL_ENDPOINT": "here"}, "'$CLONEPOOL_ENDPOINT' is not an endpoint"),
        ([], {"RECORDED": "/dev/null"}, "is no JSON"),
        (["--preview-options=--stack 'dev"], {}, "--preview-options can't be split into words"),
        (["--forecast-options=--owner 'me"], {}, "--forecast-options can't be split into words"),
        ([], {"GITHUB_EVENT_PATH": "/nowhere/event"}, "/nowhere/event can't be read: No such file"),
        ([], {"GITHUB_EVENT_PATH": "/dev/null"}, "can't be read: it holds no JSON object"),
    ],
)
def test_a_forecast_that_can_not_be_made_fails_the_job_in_one_line(
    job: Job, preview: Preview, words: list[str], more: dict[str, str], said: str
) -> None:
    done = preview("pulumi", *words, **more)
    assert FAILED == done.code
    (line,) = job.markdown.read_text().splitlines()
    assert said in line
    assert "Traceback" not in done.err


def test_options_that_can_not_be_split_are_refused_before_anything_is_run(
    job: Job, preview: Preview
) -> None:
    assert FAILED == preview("pulumi", "--forecast-options='").code
    assert [] == calls(job)


def test_a_file_that_can_not_be_written_is_one_line(job: Job, preview: Preview) -> None:
    done = preview("pulumi", "--markdown", "/nowhere/forecast.md")
    told = "error: /nowhere/forecast.md can't be written: No such file or directory\n"
    assert (FAILED, told) == (done.code, done.err)


def test_a_program_that_is_not_there_is_named(job: Job, preview: Preview) -> None:
    (job.folder / "bin/tofu").unlink()
    done = preview("tofu", PATH=f"{job.folder}/bin:{VENV_BIN}")
    assert FAILED == done.code
    assert "tofu can't be run" in job.markdown.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_job_stops_the_preview_and_keeps_nothing_of_it(
    job: Job, number: signal.Signals
) -> None:
    """Terraform gives back the lock on its state when it is told to stop, not when it is killed."""
    write_program(job.folder / "bin/pulumi", ENDLESS)
    words = ("pulumi", "--markdown", str(job.markdown))
    known = variables(job, RECORDED / "pulumi-create.json")
    process = subprocess.Popen(
        job.argv("preview.py", *words),
        env=job.environment(**known),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: "begun" in calls(job), what="the preview to begin")
        assert 1 == len(job.leftovers())
        process.send_signal(number)
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert 128 + number == process.returncode
    assert "Traceback" not in text
    assert "told to stop" in calls(job)
    assert [] == job.leftovers()
    assert INPUT not in text
