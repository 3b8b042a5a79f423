#!/usr/bin/env python3
"""Preview a plan and write, as Markdown, what it will do to storage.

    python3 preview.py pulumi|terraform|tofu --markdown FILE [--directory DIR] [--fail-on WHAT]
                       [--preview-options WORDS] [--forecast-options WORDS]

A preview's JSON can hold inputs in the clear. It stays in a temporary folder of this user, which is
removed however this ends, and nothing of it is printed but the errors of a preview that fails.

Exit codes: 0 done, also where no engine answers or there is nothing to ask one with; 1 the preview
or the forecast failed; 4 the forecast holds what --fail-on names. FILE is written in each case.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from github_api import NoEvent, find_pull_request

DONE, FAILED, FORESEEN = 0, 1, 4
# a Terraform that is told to stop gives back the lock on its state
END_S = 30


class Failed(Exception):
    """There is no forecast; the message says why, in one line."""


def run(argv: Sequence[str], *, folder: Path, stdout: IO[Any] | int) -> int:
    """Run a command to its end; its errors go to the job's log."""
    try:
        process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout)
    except OSError as error:
        raise Failed(f"{argv[0]} can't be run in {folder}: {error.strerror}") from None
    try:
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def preview_pulumi(*, folder: Path, options: Sequence[str], scratch: Path) -> Path:
    """The file with `pulumi preview --json` of the project in ``folder``."""
    path = scratch / "preview.json"
    with path.open("w") as out:
        argv = ["pulumi", "preview", "--json", "--non-interactive", *options]
        code = run(argv, folder=folder, stdout=out)
    if code:
        sys.stderr.write(_errors(path.read_text()))
        raise Failed(f"pulumi preview failed (exit code {code}); the job's log says why")
    return path


def _errors(preview: str) -> str:
    """What a preview that failed says of it: with --json its errors stand among the rest."""
    try:
        told = json.loads(preview).get("diagnostics") or ()
    except ValueError:
        return ""
    return "".join(f"{each['message']}\n" for each in told if each.get("severity") == "error")


def plan_terraform(*, program: str, folder: Path, options: Sequence[str], scratch: Path) -> Path:
    """The file with the plan, as JSON, of the configuration in ``folder``, which is initialized."""
    plan, path = scratch / "plan", scratch / "plan.json"
    quiet = ["-input=false", "-no-color"]
    with path.open("w") as out:
        for argv, stdout in (
            ([program, "init", *quiet], subprocess.DEVNULL),
            ([program, "plan", *quiet, f"-out={plan}", *options], subprocess.DEVNULL),
            ([program, "show", "-json", str(plan)], out),
        ):
            code = run(argv, folder=folder, stdout=stdout)
            if code:
                what = f"{program} {argv[1]} failed (exit code {code})"
                raise Failed(f"{what}; the job's log says why")
    return path


def forecast(*, kind: str, plan: Path, fail_on: str, options: Sequence[str]) -> tuple[int, str]:
    """The exit code and the Markdown of `clonepool forecast`. Raises Failed."""
    argv = ["clonepool", "forecast", kind, str(plan)]
    argv += ["--format", "markdown", "--fail-on", fail_on, *options]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"clonepool can't be run: {error.strerror}") from None
    if done.returncode not in (DONE, FORESEEN):
        raise Failed(" ".join(done.stderr.split()))
    return done.returncode, done.stdout.strip()


def reason_to_leave_it() -> str:
    """Why there is nothing to ask an engine with; "" where there is. Raises Failed."""
    try:
        pull_request = find_pull_request()
    except NoEvent as error:
        raise Failed(str(error)) from None
    if pull_request is not None and pull_request.from_fork:
        return "a pull request from a fork is given no secrets, so no plan was made of it"
    if not os.environ.get("CLONEPOOL_ENDPOINT"):
        return "CLONEPOOL_ENDPOINT is not set, so no plan was made"
    return ""


def words_of(option: str, text: str) -> list[str]:
    """Its words, as a shell splits them."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Failed(f"{option} can't be split into words: {error}") from None


def make(asked: argparse.Namespace) -> tuple[int, str]:
    """The exit code and the Markdown."""
    try:
        reason = reason_to_leave_it()
        if reason:
            return DONE, f"no forecast: {reason}"
        return forecast_of(asked)
    except Failed as error:
        return FAILED, f"no forecast: {error}"


def forecast_of(asked: argparse.Namespace) -> tuple[int, str]:
    """The exit code and the Markdown of a plan that is made for it. Raises Failed."""
    options = words_of("--preview-options", asked.preview_options)
    # options of yours for `clonepool forecast` itself come in here
    more = words_of("--forecast-options", asked.forecast_options)
    with tempfile.TemporaryDirectory(prefix="clonepool-") as name:
        scratch = Path(name)
        if asked.tool == "pulumi":
            kind = "pulumi"
            plan = preview_pulumi(folder=asked.directory, options=options, scratch=scratch)
        else:
            kind = "terraform"
            plan = plan_terraform(
                program=asked.tool, folder=asked.directory, options=options, scratch=scratch
            )
        return forecast(kind=kind, plan=plan, fail_on=asked.fail_on, options=more)


def without_secrets(text: str) -> str:
    """GitHub hides secrets in logs only, not in comments and summaries: an error names the engine.

    Hosts are compared in lower case, as the command line prints them.
    """
    for name in ("CLONEPOOL_ENDPOINT", "CLONEPOOL_TOKEN"):
        value = os.environ.get(name, "").strip()
        for part in (value, value.rpartition("//")[2]):
            if part:
                text = re.sub(re.escape(part), f"${name}", text, flags=re.IGNORECASE)
    return text


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tool", choices=("pulumi", "terraform", "tofu"))
    parser.add_argument("--markdown", type=Path, required=True, help="the file to write")
    parser.add_argument("--directory", type=Path, default=Path(), help="where the program is")
    parser.add_argument("--fail-on", choices=("never", "failures", "waits"), default="never")
    parser.add_argument(
        "--preview-options", default="", help="more for preview or plan, as one word"
    )
    parser.add_argument("--forecast-options", default="", help="more for forecast, as one word")
    return parser.parse_args()


def main() -> int:
    asked = parse()
    # a job that is cancelled: the temporary folder goes all the same
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    code, text = make(asked)
    text = without_secrets(text)
    print(text.splitlines()[0].lstrip("# "))
    try:
        asked.markdown.write_text(text if text.startswith("#") else f"**Clonepool:** {text}")
    except OSError as error:
        print(f"error: {asked.markdown} can't be written: {error.strerror}", file=sys.stderr)
        return FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
