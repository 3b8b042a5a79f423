"""Ceph's bindings: found where the distribution puts them, else an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clonepool.backends.rbd_bindings import PATH_VARIABLE, load_bindings

# what a process of its own finds: modules, once loaded, stay
_LOAD = (
    "from clonepool.backends import rbd_bindings as b\n"
    "from clonepool.errors import FailedPrecondition\n"
    "{before}\n"
    "try:\n"
    "    print(b.load_bindings().rbd.__file__)\n"
    "except FailedPrecondition as error:\n"
    "    print(error.reason, error)\n"
)


def load(*, before: str = "", **variables: str) -> str:
    """What loading says in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _LOAD.format(before=before)],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_without_them_the_error_names_packages_interpreter_and_variable() -> None:
    said = load(before="b._SYSTEM_FOLDERS = ()")
    assert said.startswith("NO_CEPH_BINDINGS ")
    for word in ("apt-get install python3-rados python3-rbd", "dnf install", PATH_VARIABLE):
        assert word in said
    assert f"Python {sys.version.split()[0]}" in said
    assert "found: nothing" in said


def test_those_of_another_interpreter_are_named(tmp_path: Path) -> None:
    other = tmp_path / "rbd.cpython-36m-x86_64-linux-gnu.so"
    other.touch()
    said = load(before="b._SYSTEM_FOLDERS = ()", **{PATH_VARIABLE: str(tmp_path)})
    assert f"found: {other}" in said


def test_what_can_t_be_loaded_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "rados.so"
    broken.write_bytes(b"not a library")
    said = load(**{PATH_VARIABLE: str(tmp_path)})
    assert said.startswith("NO_CEPH_BINDINGS ")
    assert f"{broken} can't be loaded" in said


@pytest.mark.ceph
def test_they_are_taken_from_the_folder_that_is_named_first(tmp_path: Path) -> None:
    bindings = load_bindings()
    for module in (bindings.rados, bindings.rbd):
        held = Path(str(module.__file__))
        (tmp_path / held.name).symlink_to(held)
    assert load(**{PATH_VARIABLE: str(tmp_path)}).startswith(str(tmp_path))
    assert load().strip() == str(bindings.rbd.__file__)


@pytest.mark.ceph
def test_nothing_else_of_the_systems_packages_comes_into_reach() -> None:
    before = list(sys.path)
    assert int(load_bindings().version.split(".")[0]) >= 1
    assert before == sys.path
