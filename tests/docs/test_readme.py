"""What the README shows is what the repository holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FACES = {
    # the program that is shown, and the test that runs it as it stands
    "python": ("minimal/__main__.py", "provider/test_examples.py", "test_the_minimal_example"),
    "yaml": ("pulumi-yaml/Pulumi.yaml", "plugin/test_yaml.py", "test_the_yaml_example"),
    "terraform": (
        "terraform-minimal/main.tf",
        "terraform/test_minimal.py",
        "test_the_minimal_example",
    ),
}
MADE = {
    "pulumi-python": ["MasterImage web", "ReplicaPool web", "ServerStorageAttachment web1"],
    "pulumi-yaml": ["MasterImage web", "ReplicaPool pool", "ServerStorageAttachment web1"],
    "terraform": ["master_image.web", "replica_pool.web", "server_storage_attachment.web1"],
}


@pytest.mark.parametrize("word", FACES)
def test_a_program_in_the_readme_is_an_example_that_a_test_runs(word: str) -> None:
    example, module, test = FACES[word]
    program = (ROOT / "examples" / example).read_text().rstrip()

    assert [program] == re.findall(rf"^```{word}\n(.*?)\n```$", README, re.S | re.M)
    code = (ROOT / "tests" / module).read_text()
    assert f"def {test}(" in code
    # by its folder, which no other example's name holds
    assert Path(example).parts[0] in code


@pytest.mark.parametrize("face", MADE)
def test_a_transcript_plans_and_then_makes_what_the_program_declares(face: str) -> None:
    """The last part of it in the order in which things hang on each other."""
    (printed,) = re.findall(rf"<!-- transcript: {face} -->\n\n```\n(.*?)\n```", README, re.S)
    planned, made = printed.split("\n\n$ ")

    assert set(MADE[face]) == set(named(face, planned, "create"))
    assert MADE[face] == named(face, made, "created (", "Creation complete")
    # of a CHAP account the name may be printed, the secret never
    assert re.search(r"chap_?username *[:=] \"cp-", made, re.I)
    assert {"[secret]"} >= set(re.findall(r"chap_?secret *[:=] (.*)", made, re.I))


def named(face: str, part: str, *words: str) -> list[str]:
    """What the face's program declares and a line names beside one of the words."""
    lines = [line for line in part.splitlines() if any(word in line for word in words)]
    return [name for line in lines for name in MADE[face] if re.search(rf"{name}\b", line)]


def test_every_file_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [] == [link for link in links if not (ROOT / link).exists()]


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README
