"""A tree of folders that stand for things: repeated changes, and errors that name the path only."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from clonepool.fabrics.configfs import ConfigTree


def test_making_and_removing_may_be_repeated(tmp_path: Path) -> None:
    tree = ConfigTree(tmp_path)
    for _ in range(2):
        tree.make("a")
        tree.make("a/b")
        tree.link("a/link", to="a/b")
    assert ("b",) == tree.folders("a")
    assert {"link": "b"} == tree.links("a")
    for _ in range(2):
        tree.unlink("a/link")
        tree.remove("a/b")
        tree.remove("a")
    assert not tree.exists("a")
    assert ((), {}) == (tree.folders("a"), tree.links("a"))


def test_folders_are_found_by_their_beginning(tmp_path: Path) -> None:
    tree = ConfigTree(tmp_path)
    for name in ("lun_2", "lun_10", "statistics"):
        tree.make(name)
    assert ("lun_10", "lun_2") == tree.folders("", prefix="lun_")


def test_what_the_kernel_says_to_a_write_is_not_lost_and_the_secret_is_not_told() -> None:
    """/dev/full takes nothing: a file object would say so when it is closed, or never."""
    with pytest.raises(OSError, match="No space") as refused:
        ConfigTree(Path("/dev")).write("full", "the-secret-of-a-server")
    assert (errno.ENOSPC, "/dev/full") == (refused.value.errno, refused.value.filename)
    assert "the-secret-of-a-server" not in f"{refused.value!r} {refused.value}"
    assert refused.value.__cause__ is None


def test_an_attribute_that_is_not_there_is_named(tmp_path: Path) -> None:
    tree = ConfigTree(tmp_path)
    for act in (lambda: tree.write("no/such", "x"), lambda: tree.read("no/such")):
        with pytest.raises(FileNotFoundError, match="no/such"):
            act()


def test_an_attribute_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "enable").write_text("1\n")
    assert "1" == ConfigTree(tmp_path).read("enable")
