"""examples/ci-preview/comment.py: one comment on the pull request, whatever GitHub answers."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ci_job import COMMIT, SCRIPTS, Done, Job
from tests.support.github_server import (
    BOT,
    LIMIT,
    READ_TOKEN,
    REPOSITORY,
    TOKEN,
    GitHubServer,
    Refusal,
    github_server,
)

MARKER = "<!-- clonepool-forecast: forecast -->"
FORECAST = (
    "### Clonepool: 2 of 2 attachments warm\n\n| attachment | pool |\n| --- | --- |\n| a | b |"
)


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with github_server() as running:
        yield running


@pytest.fixture
def job(tmp_path: Path, github: GitHubServer) -> Job:
    made = Job(folder=tmp_path, api_url=github.url)
    made.event()
    made.markdown.write_text(FORECAST)
    return made


def comment(job: Job, *words: str, **variables: str) -> Done:
    return job.run("comment.py", str(job.markdown), *words, **variables)


def writes(github: GitHubServer) -> list[str]:
    return [each.partition(" ")[0] for each in github.requests if not each.startswith("GET")]


def test_the_first_push_makes_a_comment_and_the_next_one_writes_it_anew(
    job: Job, github: GitHubServer
) -> None:
    first = comment(job)
    assert 0 == first.code, first.err
    (made,) = github.comments
    assert made["body"].startswith(f"{MARKER}\n{FORECAST}\n\n")
    run = "https://github.com/acme/infra/actions/runs/42"
    assert made["body"].endswith(f"<sub>Of {COMMIT[:12]}, by [this run]({run}).</sub>")
    assert f"commented: {made['html_url']}" in first.out

    job.markdown.write_text("### Clonepool: 1 of 2 attachments warm, 1 wait")
    assert 0 == comment(job).code
    (made,) = github.comments
    assert "1 of 2 attachments warm, 1 wait" in made["body"]
    assert "2 of 2" not in made["body"]
    assert ["POST", "PATCH"] == writes(github)
    # each run of a job has a summary of its own; here both wrote into one file
    assert f"{FORECAST}\n### Clonepool: 1 of 2 attachments warm, 1 wait\n" == job.summary


def test_the_comment_is_found_behind_many_others(job: Job, github: GitHubServer) -> None:
    for number in range(150):
        github.say(f"comment {number}", login="alice")
    comment(job)
    for number in range(150):
        github.say(f"comment {number}", login="alice")
    assert 0 == comment(job).code
    assert 301 == len(github.comments)
    assert ["POST", "PATCH"] == writes(github)
    pages = [each.rpartition("page=")[2] for each in github.requests if each.startswith("GET")]
    assert ["1", "2", "1", "2"] == pages


@pytest.mark.parametrize(
    ("body", "login"),
    [
        (f"{MARKER}\nwritten by hand", "mallory"),
        (f"> {MARKER}\nquoted", BOT),
        ("<!-- clonepool-forecast: staging -->\nanother stack's", BOT),
    ],
)
def test_other_comments_are_left_alone(
    job: Job, github: GitHubServer, body: str, login: str
) -> None:
    """Whoever may write comments can write the hidden line too: only our author's count."""
    github.say(body, login=login)
    assert 0 == comment(job).code
    assert body == github.comments[0]["body"]
    assert 2 == len(github.comments)


def test_each_key_has_a_comment_of_its_own(job: Job, github: GitHubServer) -> None:
    for _ in range(2):
        assert 0 == comment(job, "--key", "dev").code
        assert 0 == comment(job, "--key=prod-eu").code
    assert 2 == len(github.comments)
    assert 2 == comment(job, "--key", "a-->b").code


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(status=502, message="Server Error"),
        Refusal(status=0),
        Refusal(status=429, message="Too many requests", headers={"Retry-After": "0"}),
        Refusal(
            status=403,
            message="You have triggered an abuse detection mechanism",
            headers={"Retry-After": "1"},
        ),
        Refusal(
            status=403,
            message="Forbidden",
            headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()))},
        ),
    ],
    ids=["502", "cut off", "429", "secondary limit", "limit of the hour"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_may_go_later_is_tried_again(
    job: Job, github: GitHubServer, refusal: Refusal, method: str
) -> None:
    github.refusals = [Refusal(**{**vars(refusal), "method": method})] * 2
    done = comment(job)
    assert 0 == done.code, done.err
    assert [] == github.refusals
    assert 1 == len(github.comments)


@pytest.mark.parametrize("status", [502, 0])
def test_a_comment_whose_answer_was_lost_is_not_made_twice(
    job: Job, github: GitHubServer, status: int
) -> None:
    github.refusals = [Refusal(status=status, method="POST", done=True)]
    assert 0 == comment(job).code
    assert 1 == len(github.comments)
    assert ["POST", "PATCH"] == writes(github)


def test_it_waits_as_long_as_it_is_asked_to(job: Job, github: GitHubServer) -> None:
    github.refusals = [Refusal(status=429, headers={"Retry-After": "2"})]
    began = time.monotonic()
    assert 0 == comment(job).code
    assert time.monotonic() - began >= 2


def test_a_wait_that_is_too_long_fails_at_once(job: Job, github: GitHubServer) -> None:
    github.refusals = [Refusal(status=429, message="slow down", headers={"Retry-After": "3600"})]
    began = time.monotonic()
    done = comment(job)
    assert 1 == done.code
    assert "GitHub says 429 slow down" in done.err
    assert time.monotonic() - began < 60
    assert [] == github.comments


def test_a_limit_that_names_no_time_is_waited_for_a_minute(
    github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    api = importlib.import_module("github_api")
    message = "You have exceeded a secondary rate limit"
    github.refusals = [Refusal(status=403, message=message)]
    with pytest.raises(api.Later, match="secondary rate limit") as raised:
        api.GitHub(url=github.url, repository=REPOSITORY, token=TOKEN).create(7, "text")
    assert 60 == raised.value.after_s


def test_a_comment_that_was_deleted_meanwhile_is_made_anew(job: Job, github: GitHubServer) -> None:
    comment(job)
    github.refusals = [Refusal(status=404, message="Not Found", method="PATCH")]
    assert 0 == comment(job).code
    assert ["POST", "PATCH", "POST"] == writes(github)


def test_a_token_that_may_only_read_leaves_the_summary(job: Job, github: GitHubServer) -> None:
    done = comment(job, GITHUB_TOKEN=READ_TOKEN)
    assert 0 == done.code
    assert "::warning title=Clonepool::no comment, the summary has it" in done.out
    assert "403 Resource not accessible by integration" in done.out
    assert ([], f"{FORECAST}\n") == (github.comments, job.summary)


@pytest.mark.parametrize("event", [{"fork": True}, {"push": {}}], ids=["fork", "push"])
def test_a_fork_and_a_push_get_a_summary_and_ask_nothing_of_github(
    job: Job, github: GitHubServer, event: dict[str, bool]
) -> None:
    job.event(**event)
    done = comment(job, GITHUB_TOKEN="")
    assert 0 == done.code, done.err
    assert f"{FORECAST}\n" == job.summary
    assert [] == github.requests


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GITHUB_TOKEN": "wrong"}, "GitHub says 401 Bad credentials"),
        ({"GITHUB_REPOSITORY": "acme/gone"}, "GitHub says 404 Not Found"),
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN: not set"),
    ],
)
def test_a_refusal_for_good_is_one_line_and_no_second_try(
    job: Job, github: GitHubServer, variables: dict[str, str], said: str
) -> None:
    done = comment(job, **variables)
    assert 1 == done.code
    assert said in done.err
    assert 1 == len(done.err.splitlines())
    assert len(github.requests) <= 1
    assert TOKEN not in done.out + done.err


def test_a_redirection_does_not_take_the_token_elsewhere(job: Job, github: GitHubServer) -> None:
    with github_server() as other:
        headers = {"Location": f"{other.url}/repos/acme/infra/issues/7/comments"}
        github.refusals = [Refusal(status=301, message="Moved Permanently", headers=headers)]
        done = comment(job)
        assert 1 == done.code
        assert "GitHub says 301 Moved Permanently" in done.err
        assert [] == other.requests


@pytest.mark.parametrize("line", ["| web-{} | 10.0.0.{} | waits |\n", "ä" * 40 + "{}{}\n", "x"])
def test_a_long_forecast_is_shortened_to_githubs_limit(
    job: Job, github: GitHubServer, line: str
) -> None:
    text = "".join(line.format(number, number) for number in range(70_000))
    job.markdown.write_text(text)
    done = comment(job)
    assert 0 == done.code, done.err
    body = github.comments[0]["body"]
    assert LIMIT - 200 < len(body) <= LIMIT
    assert "*Shortened to fit a comment; [the run's summary](https://github.com/" in body
    kept = body.removeprefix(f"{MARKER}\n").partition("\n\n*Shortened")[0]
    assert text.startswith(kept)
    if "\n" in line:
        assert "\n" == text[len(kept)]
    # the summary holds more, and has a limit too
    assert len(body) < len(job.summary)
    assert len(job.summary.encode()) <= 2**20


def test_nobody_is_called_by_a_name_in_the_plan(job: Job, github: GitHubServer) -> None:
    job.markdown.write_text('| module.team["@acme/everybody"] | web |')
    assert 0 == comment(job).code
    assert "@acme" not in github.comments[0]["body"] + job.summary


def test_a_forecast_that_was_never_written_is_said(job: Job, github: GitHubServer) -> None:
    job.markdown.unlink()
    assert 0 == comment(job).code
    assert "no forecast: the step that makes it ended before" in github.comments[0]["body"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GITHUB_EVENT_PATH": "/nowhere/event"}, "/nowhere/event can't be read: No such file"),
        ({"GITHUB_STEP_SUMMARY": "/nowhere/summary"}, "/nowhere/summary: No such file"),
    ],
)
def test_a_file_of_the_jobs_that_is_not_there_is_one_line(
    job: Job, github: GitHubServer, variables: dict[str, str], said: str
) -> None:
    done = comment(job, **variables)
    assert 1 == done.code
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert [] == github.requests
