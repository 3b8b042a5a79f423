"""Outside commands: a list, a time limit, a clean environment, errors that say what happened."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.errors import Cancelled, CommandError

PYTHON = sys.executable
TIMEOUT_S = 20.0


def test_what_a_command_prints_comes_back() -> None:
    done = commands.run(["printf", "%s", "a b;$HOME"], timeout_s=TIMEOUT_S)
    assert b"a b;$HOME" == done.stdout


def test_input_reaches_the_command() -> None:
    assert b"abc" == commands.run(["cat"], timeout_s=TIMEOUT_S, stdin=b"abc").stdout


def test_a_command_speaks_english_and_keeps_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("CLONEPOOL_TEST", "kept")
    script = 'printf "%s %s %s" "$LC_ALL" "$CLONEPOOL_TEST" "$ADDED"'
    done = commands.run(["sh", "-c", script], timeout_s=TIMEOUT_S, env={"ADDED": "added"})
    assert b"C kept added" == done.stdout


def test_a_failure_tells_command_exit_code_and_what_it_said() -> None:
    argv = ["sh", "-c", "echo no space >&2; exit 3"]
    with pytest.raises(CommandError) as failed:
        commands.run(argv, timeout_s=TIMEOUT_S)
    assert (tuple(argv), 3, "no space") == (
        failed.value.argv,
        failed.value.exit_code,
        failed.value.stderr,
    )
    assert "sh exited with 3: no space" == str(failed.value)


def test_a_missing_program_is_exit_code_127() -> None:
    for run in (
        lambda: commands.run(["no-such-program"], timeout_s=1),
        lambda: commands.run_watched(["no-such-program"], timeout_s=1, watch=lambda _out: None),
    ):
        with pytest.raises(CommandError, match="not found") as failed:
            run()
        assert 127 == failed.value.exit_code


def test_a_command_that_takes_too_long_is_ended() -> None:
    for run in (
        lambda: commands.run(["sleep", "60"], timeout_s=0.05),
        lambda: commands.run_watched(["sleep", "60"], timeout_s=0.05, watch=lambda _out: None),
    ):
        with pytest.raises(CommandError, match="no answer within") as failed:
            run()
        assert failed.value.exit_code is None


def test_a_flood_of_errors_is_cut_to_its_end() -> None:
    script = "import sys; sys.stderr.write('x' * 100_000 + 'the end'); sys.exit(1)"
    with pytest.raises(CommandError) as failed:
        commands.run([PYTHON, "-c", script], timeout_s=TIMEOUT_S)
    assert failed.value.stderr.endswith("the end")
    assert len(failed.value.stderr) <= 4000


def test_bytes_that_are_no_text_do_not_hide_the_error() -> None:
    with pytest.raises(CommandError, match="exited with 1"):
        commands.run(["sh", "-c", r"printf '\377' >&2; exit 1"], timeout_s=TIMEOUT_S)


def test_a_watched_command_shows_what_it_printed_so_far() -> None:
    seen: list[bytes] = []
    script = "import sys, time; print('10%', flush=True); sys.stdin; time.sleep(0.4); print('100%')"
    done = commands.run_watched([PYTHON, "-c", script], timeout_s=TIMEOUT_S, watch=seen.append)
    assert b"10%\n100%\n" == done.stdout
    assert b"10%\n" in seen


def test_a_watcher_that_raises_ends_the_command(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def watch(_out: bytes) -> None:
        if pid_file.exists() and pid_file.read_text():
            raise Cancelled("asked to stop")

    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    argv = [PYTHON, "-c", script, str(pid_file)]
    with pytest.raises(Cancelled):
        commands.run_watched(argv, timeout_s=TIMEOUT_S, watch=watch)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


@pytest.mark.parametrize("watched", [False, True])
def test_a_held_descriptor_is_inherited_until_it_is_let_go(tmp_path: Path, watched: bool) -> None:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    argv = [PYTHON, "-c", f"import os; os.fstat({descriptor})"]

    def run() -> None:
        if watched:
            commands.run_watched(argv, timeout_s=TIMEOUT_S, watch=lambda _out: None)
        else:
            commands.run(argv, timeout_s=TIMEOUT_S)

    commands.hold(descriptor)
    try:
        run()
    finally:
        commands.let_go(descriptor)
    with pytest.raises(CommandError, match="Bad file descriptor"):
        run()
    os.close(descriptor)
