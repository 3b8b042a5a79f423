"""`clonepool audit`, and the other commands of scrubbing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clonepool.cli import main
from clonepool.domain.states import AfterScrub, Assurance, VerifyMode
from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine
from tests.unit.test_audit import history, lines


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    path.write_text("".join(lines(history().documents())))
    return path


def test_a_file_that_holds_is_told_with_its_head(
    audit_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == main(["audit", "verify", str(audit_file)])
    out = capsys.readouterr().out
    assert "the audit of engine engine-1 holds (whole): 6 entries on 2 volumes, 1 held now" in out
    assert f"head {history().entries[-1]['hash']}" in out


def test_a_file_that_does_not_hold_fails_with_its_line(
    audit_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = audit_file.read_text().splitlines()
    audit_file.write_text("\n".join([*written[:2], *written[3:]]))
    assert 1 == main(["audit", "verify", str(audit_file)])
    assert "error: line 3: entry 3 does not follow entry 1" in capsys.readouterr().err


def test_a_head_that_is_not_in_it_fails(
    audit_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == main(["audit", "verify", str(audit_file), "--head", "0" * 64])
    assert "is not in this chain" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["audit", "verify", "/no/such/file"])
    assert "there is no file /no/such/file" in capsys.readouterr().err


def test_the_check_needs_no_engine_and_loads_nothing_of_one(audit_file: Path) -> None:
    program = (
        "import sys; from clonepool.cli import main; "
        f"code = main(['audit', 'verify', {str(audit_file)!r}]); "
        "loaded = {'grpc', 'sqlmodel', 'sqlalchemy', 'clonepool.engine', 'clonepool.store'}; "
        "print(sorted(loaded & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"CLONEPOOL_ENDPOINT": "unix:///no/such/engine"},
    )
    assert "[]" == done.stdout.splitlines()[-1]


def test_an_export_is_printed_line_by_line(run: Run) -> None:
    code, out, _ = run("audit", "export", "--since", "2026-01-31")
    assert 0 == code
    assert [{"kind": "header", "since": 1769817600}, {"kind": "end"}] == [
        json.loads(line) for line in out.splitlines()
    ]
    code, _, error = run("audit", "export", "--since", "yesterday")
    assert 2 == code
    assert "--since" in error


def test_a_release_is_undone_by_name_or_id(run: Run, engine: FakeEngine) -> None:
    run("attach", "web1", "--pool", "web", "--server", "s", "--resume-released")
    assert engine.attachments.calls[0][1].resume_released
    (attachment_id,) = engine.attachments.items
    code, out, _ = run("release", "undo", attachment_id)
    assert 0 == code
    assert "resumes the volume released" in out
    code, _, error = run("release", "undo", "nobody")
    assert 1 == code
    assert "nobody" in error


def test_release_itself_is_as_it_was(run: Run, engine: FakeEngine) -> None:
    run("attach", "web1", "--pool", "web", "--server", "s")
    code, out, _ = run("release", "web1", "--force")
    assert (0, True) == (code, "attachment web1 released" in out)
    assert engine.attachments.calls[-1][1][1] is True


@pytest.mark.parametrize(
    ("command", "after"), [("retry", AfterScrub.RECYCLE), ("destroy", AfterScrub.DESTROY)]
)
def test_a_faulty_volume_is_retried_or_destroyed(
    run: Run, engine: FakeEngine, command: str, after: AfterScrub
) -> None:
    code, out, _ = run("volume", command, "volume-1")
    assert (0, True) == (code, "is being scrubbed" in out)
    assert [("start_one", ("volume-1", after))] == engine.scrub.calls


def test_a_volume_that_is_gone_is_destroyed(run: Run) -> None:
    code, out, _ = run("volume", "destroy", "gone")
    assert (0, "volume gone is gone\n") == (code, out)


def test_pool_create_takes_the_whole_policy(run: Run, engine: FakeEngine) -> None:
    run(
        "pool", "create", "web", "--image", "base", "--no-wait",
        "--scrub-max-age", "7d", "--scrub-max-bytes", "1TiB", "--scrub-low-stock", "1",
        "--verify", "full",
        "--scrub-window", "22:00-06:00", "--scrub-window", "sat,sun 00:00-24:00",
        "--undo-window", "12h", "--assurance", "purge",
    )  # fmt: skip
    scrub = engine.pools.calls[0][1].scrub
    assert (7 * 86400, 2**40, 1, VerifyMode.FULL, 12 * 3600, Assurance.PURGE) == (
        scrub.max_age_s,
        scrub.max_bytes,
        scrub.on_low_stock,
        scrub.verify,
        scrub.undo_window_s,
        scrub.assurance,
    )
    assert ("22:00-06:00", "sat,sun 00:00-24:00") == scrub.windows


def test_a_pool_shows_its_policy(run: Run) -> None:
    _, out, _ = run(
        "pool", "create", "web", "--image", "base", "--no-wait",
        "--scrub-max-age", "7d", "--verify", "sample", "--undo-window", "12h",
        "--scrub-window", "22:00-06:00",
    )  # fmt: skip
    wanted = "at 10 released or 7d after a release, reformat, read back (sample), then recycle"
    assert wanted in out
    assert "undo window 12h" in out
    assert "22:00-06:00" in out
