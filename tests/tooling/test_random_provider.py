"""The double of the random provider serves real programs of a real Pulumi command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import DOUBLE
from tests.support.pulumi_project import PulumiProject

pytestmark = pytest.mark.pulumi

PROGRAM = """
import pulumi
import pulumi_random as random

pet = random.RandomPet("pet", length=LENGTH, prefix="db")
serial = random.RandomId("serial", byte_length=8, keepers={"pet": pet.id})
password = random.RandomPassword("password", length=24, special=False, min_numeric=3)
pulumi.export("pet", pet.id)
pulumi.export("serial", serial.hex)
pulumi.export("password", password.result)
"""


@pytest.fixture
def project(tmp_path: Path, pulumi_bin: Path) -> PulumiProject:
    made = PulumiProject(folder=tmp_path, pulumi_bin=pulumi_bin, plugin_folders=(DOUBLE,))
    made.create(PROGRAM.replace("LENGTH", "2"))
    return made


def test_a_program_with_random_names_goes_up_stays_unchanged_keeps_its_secret_and_is_destroyed(
    project: PulumiProject,
) -> None:
    assert {"create": 4} == project.read_json("preview")["changeSummary"]
    project.run("up", "--skip-preview")
    first = project.outputs()
    assert 3 == len(first["pet"].split("-"))
    assert first["pet"].startswith("db-")
    assert 16 == len(first["serial"])
    assert 24 == len(first["password"])
    assert 3 <= sum(map(str.isdigit, first["password"]))

    assert "4 unchanged" in project.run("up", "--skip-preview").text
    assert "4 unchanged" in project.run("refresh", "--skip-preview").text
    assert first == project.outputs()
    assert first["password"] not in project.state()
    assert "4 deleted" in project.run("destroy", "--skip-preview").text


def test_a_changed_input_replaces_the_object_and_what_is_kept_by_it(
    project: PulumiProject,
) -> None:
    project.run("up", "--skip-preview")
    before = project.outputs()
    project.write(PROGRAM.replace("LENGTH", "3"))
    assert {"replace": 2, "same": 2} == project.read_json("preview")["changeSummary"]
    project.run("up", "--skip-preview")
    after = project.outputs()
    assert 4 == len(after["pet"].split("-"))
    assert before["serial"] != after["serial"]
    assert before["password"] == after["password"]


def test_a_bad_input_is_named_with_its_property(project: PulumiProject) -> None:
    project.write(PROGRAM.replace("LENGTH", "0"))
    shown = project.run("preview", expect=None)
    assert 0 != shown.exit_code
    assert "property length value {0} has a problem: must be a number of at least 1" in shown.text
