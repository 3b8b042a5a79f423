#!/usr/bin/env python3
"""Put a Markdown file into the job's summary, and into the one comment on the pull request.

    python3 comment.py FILE [--key KEY] [--author LOGIN]

The comment is found again by a hidden first line with KEY in it (one for each stack, say) and by
its author, and written anew: however often one pushes, there is one comment. It needs GITHUB_TOKEN
with `pull-requests: write`; where that may only read (forks, Dependabot) the summary is all.

Exit codes: 0 done, or left out because the job has no right to comment; 1 GitHub refused it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from github_api import (
    FORBIDDEN,
    NOT_FOUND,
    GitHub,
    NoEvent,
    PullRequest,
    Refused,
    find_pull_request,
    patiently,
)

# GitHub's limits: characters of a comment; bytes of a summary, a character having four at most
COMMENT_LIMIT = 65_536
SUMMARY_LIMIT = 2**20 // 4
KEY = re.compile(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*")
ABSENT = "**Clonepool:** no forecast: the step that makes it ended before it wrote one"


def shortened(text: str, *, limit: int, note: str) -> str:
    """At most ``limit`` characters: whole lines, and ``note`` in the place of what was left out."""
    if len(text) <= limit:
        return text
    kept = text[: limit - len(note) - 2]
    whole, newline, _ = kept.rpartition("\n")
    return f"{whole if newline else kept}\n\n{note}"


def defused(text: str) -> str:
    """Names come from the plan: none of them calls people to the pull request."""
    return text.replace("@", "@\N{ZERO WIDTH SPACE}")


def run_address() -> str:
    """The page of this run of the workflow."""
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    return f"{server}/{repository}/actions/runs/{os.environ.get('GITHUB_RUN_ID', '')}"


def comment_body(markdown: str, *, marker: str, commit: str) -> str:
    """The comment: the hidden line, the forecast, and what it is of."""
    foot = f"<sub>Of {commit[:12]}, by [this run]({run_address()}).</sub>"
    note = f"*Shortened to fit a comment; [the run's summary]({run_address()}) has more.*"
    room = COMMENT_LIMIT - len(marker) - len(foot) - 4
    return f"{marker}\n{shortened(markdown, limit=room, note=note)}\n\n{foot}"


def write_summary(markdown: str) -> None:
    """Add it to the job's summary, where there is one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        text = shortened(markdown, limit=SUMMARY_LIMIT - 1, note="*Shortened to fit a summary.*")
        with Path(path).open("a") as summary:
            summary.write(f"{text}\n")


def publish(github: GitHub, *, number: int, marker: str, author: str, body: str) -> str:
    """Write the comment, the first time or anew; its address. Raises Refused.

    Each try looks for it first: a try whose answer was lost may have made it.
    """

    def once() -> str:
        for comment in github.comments(number):
            mine = (comment.get("user") or {}).get("login") == author
            if mine and comment["body"].partition("\n")[0].strip() == marker:
                try:
                    return github.update(comment["id"], body)
                except Refused as refusal:
                    if refusal.status != NOT_FOUND:
                        raise
                    # deleted since it was listed
        return github.create(number, body)

    return patiently(once)


def warn(text: str) -> None:
    """An annotation of the run; what GitHub said must not end it early."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::warning title=Clonepool::{text}")


def post(pull_request: PullRequest, *, markdown: str, marker: str, author: str) -> int:
    """Comment; the exit code."""
    github = GitHub(
        url=os.environ.get("GITHUB_API_URL", "https://api.github.com"),
        repository=os.environ["GITHUB_REPOSITORY"],
        token=os.environ["GITHUB_TOKEN"],
    )
    body = comment_body(markdown, marker=marker, commit=pull_request.commit)
    try:
        where = publish(github, number=pull_request.number, marker=marker, author=author, body=body)
    except Refused as refusal:
        if refusal.status == FORBIDDEN:
            warn(f"no comment, the summary has it: {refusal}; it takes pull-requests: write")
            return 0
        print(f"error: no comment on #{pull_request.number}: {refusal}", file=sys.stderr)
        return 1
    print(f"commented: {where}")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--key", default="forecast", help="tells this comment from others of its kind"
    )
    parser.add_argument("--author", default="github-actions[bot]", help="who the token comments as")
    asked = parser.parse_args()
    if not KEY.fullmatch(asked.key):
        parser.error(f"--key {asked.key!r}: letters, digits, _ . and single - only")
    return asked


def comment(asked: argparse.Namespace) -> int:
    """The summary and the comment; the exit code. Raises NoEvent and OSError."""
    markdown = defused(asked.file.read_text().strip() if asked.file.exists() else ABSENT)
    write_summary(markdown)
    pull_request = find_pull_request()
    if pull_request is None or pull_request.from_fork:
        why = "it comes from a fork" if pull_request else "the job runs for none"
        print(f"no comment on the pull request: {why}; the summary has the forecast")
        return 0
    absent = [name for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN") if not os.environ.get(name)]
    if absent:
        print(f"error: {' and '.join(absent)}: not set, so there is no comment", file=sys.stderr)
        return 1
    marker = f"<!-- clonepool-forecast: {asked.key} -->"
    return post(pull_request, markdown=markdown, marker=marker, author=asked.author)


def main() -> int:
    asked = parse()
    try:
        return comment(asked)
    except NoEvent as error:
        said = str(error)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}"
    print(f"error: {said}; there is no comment", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
