"""`clonepool terraform install`, and the script that it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.cli.terraform import install
from clonepool.errors import FailedPrecondition
from tests.terraform.configurations import server
from tests.terraform.conftest import MakeProject

PROGRAM = "terraform-provider-clonepool"


def installed(home: Path) -> list[Path]:
    return sorted(home.rglob(f"{PROGRAM}_v*"))


def test_it_is_found_under_both_registries_names_and_may_be_repeated(tmp_path: Path) -> None:
    install(plugins=tmp_path)
    first = installed(tmp_path)
    install(plugins=tmp_path)

    assert first == installed(tmp_path)
    registries = {path.relative_to(tmp_path).parts[0] for path in first}
    assert {"registry.terraform.io", "registry.opentofu.org"} == registries
    assert all(path.stat().st_mode & 0o111 for path in first)


def test_the_script_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """A path in it would break .terraform.lock.hcl for everybody else."""
    install(plugins=tmp_path)

    (text,) = {path.read_text() for path in installed(tmp_path)}
    assert "/" not in text.replace("#!/bin/sh", "").replace(">/dev/null", "")


def test_a_folder_that_can_t_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(FailedPrecondition, match="--plugins"):
        install(plugins=blocked)


@pytest.mark.terraform
@pytest.mark.slow
def test_init_locks_it_and_a_program_that_is_not_on_path_is_said_clearly(
    make_project: MakeProject,
) -> None:
    project = make_project()
    project.init(server("locked"))
    assert "h1:" in (project.folder / ".terraform.lock.hcl").read_text()

    elsewhere = make_project(PATH="/usr/bin:/bin")
    refused = elsewhere.run("validate", expect=1)

    assert f"{PROGRAM} is not on PATH" in refused.said
