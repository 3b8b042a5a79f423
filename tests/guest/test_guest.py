"""The guest itself: it runs what it is told, changes nothing of the host's, and always ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.guest import (
    ROOT,
    GuestFailed,
    GuestRun,
    compile_padding,
    find_missing,
    programs,
    run_in_guest,
)
from tests.support.guest_pytest import Results, read_results, run_pytest_in_guest

TRIAL = """
import pytest

def test_that_passes(): ...

def test_that_fails():
    assert "what came" == "what was expected"

@pytest.fixture
def broken():
    raise RuntimeError("the fixture broke")

def test_whose_fixture_breaks(broken): ...

@pytest.mark.skip(reason="left out on purpose")
def test_that_is_skipped(): ...
"""


def processes_of(share: Path) -> list[int]:
    """The host's processes whose command line names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(share) in words:
            found.append(int(process.name))
    return found


@pytest.mark.guest
def test_a_command_runs_as_root_and_its_output_and_code_come_back(tmp_path: Path) -> None:
    script = "id -u; uname -r; pwd; echo $WORD; echo to stderr >&2; exit 7"
    run = run_in_guest(
        ["bash", "-c", script], share=tmp_path, timeout_s=60, environment={"WORD": "a 'word'"}
    )
    user, kernel, *rest = run.output.splitlines()
    assert "0" == user
    assert os.uname().release != kernel
    assert [str(ROOT), "a 'word'", "to stderr"] == rest
    assert 7 == run.code
    assert [] == processes_of(tmp_path)


@pytest.mark.guest
def test_what_the_guest_writes_stays_in_it_except_in_the_share(tmp_path: Path) -> None:
    share, outside = tmp_path / "share", tmp_path / "outside"
    share.mkdir()
    outside.write_text("the host's")
    script = f"echo changed >{outside}; cat {outside}; rm -rf {ROOT}/README.md; echo x >{share}/out"
    run = run_in_guest(["bash", "-c", script], share=share, timeout_s=60)
    assert GuestRun(code=0, output="changed\n") == run
    assert "the host's" == outside.read_text()
    assert (ROOT / "README.md").exists()
    assert "x\n" == (share / "out").read_text()


@pytest.mark.guest
def test_a_command_that_hangs_is_ended_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(GuestFailed, match=r"not done after 8 s(.|\n)*this far"):
        run_in_guest(["bash", "-c", "echo this far; sleep 600"], share=tmp_path, timeout_s=8)
    assert time.monotonic() - began < 30
    assert [] == processes_of(tmp_path)


@pytest.mark.guest
def test_a_guest_that_dies_says_so_with_its_last_words(tmp_path: Path) -> None:
    script = "echo before; echo c >/proc/sysrq-trigger"
    with pytest.raises(GuestFailed, match=r"before its command did(.|\n)*before"):
        run_in_guest(["bash", "-c", script], share=tmp_path, timeout_s=60)
    assert [] == processes_of(tmp_path)


@pytest.mark.guest
def test_each_result_in_the_guest_is_known_out_here(tmp_path: Path) -> None:
    trial = tmp_path / "test_trial.py"
    trial.write_text(TRIAL)
    results = run_pytest_in_guest([trial], share=tmp_path, timeout_s=120)
    assert 1 == results.code
    assert ["test_that_passes"] == [name.rpartition("::")[2] for name in results.passed]
    assert ["left out on purpose"] == list(results.skipped.values())
    problem = results.find_problem() or ""
    assert "2 test(s) failed in the guest" in problem
    assert "assert 'what came' == 'what was expected'" in problem
    assert "RuntimeError: the fixture broke" in problem


def test_a_run_without_a_test_is_a_problem(tmp_path: Path) -> None:
    empty = read_results(tmp_path / "none.xml", run=GuestRun(code=0, output="nothing to do"))
    assert "no test ran in the guest\nnothing to do" == empty.find_problem()


def test_a_run_where_all_was_skipped_is_a_problem() -> None:
    skipped = Results(code=0, passed=(), failed={}, skipped={"one": "why"}, output="1 skipped")
    assert "no test ran in the guest\n1 skipped" == skipped.find_problem()


def test_a_run_that_broke_off_is_a_problem() -> None:
    broken = Results(code=4, passed=("one",), failed={}, skipped={}, output="no such file")
    assert "pytest ended with 4 in the guest\nno such file" == broken.find_problem()


def test_a_run_that_passed_is_none_and_says_what_it_left_out() -> None:
    good = Results(code=0, passed=("one", "two"), failed={}, skipped={"three": "why"}, output="")
    assert good.find_problem() is None
    assert "2 passed in the guest, 1 skipped: why" == good.summary()


def test_what_the_guest_lacks_is_named_by_its_debian_package() -> None:
    here = dict.fromkeys(programs(), "/usr/bin/something")
    assert () == find_missing(which=here)
    assert ("user-mode-linux", "kmod") == find_missing(
        which=here | {"linux.uml": None, "insmod": None}
    )


@pytest.mark.guest
def test_registers_that_come_back_cut_short_are_filled_up(tmp_path: Path) -> None:
    """Shown without the CPU that needs it: any kernel refuses an XSAVE area that isn't whole."""
    tracer = Path(__file__).with_name("give_registers_back.py")

    def trace(**environment: str) -> str:
        done = subprocess.run(
            [sys.executable, str(tracer)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    assert "refused True\n" == trace()
    assert "accepted True\n" == trace(LD_PRELOAD=str(compile_padding(tmp_path)))
