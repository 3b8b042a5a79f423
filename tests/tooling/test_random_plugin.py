"""The real plugin of the random provider is preferred wherever Pulumi itself would find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import DOUBLE
from tests.support.features import RANDOM_PLUGIN, find_random_plugin


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the plugin."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))


def install(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / RANDOM_PLUGIN).write_text("#!/bin/sh\n")
    (folder / RANDOM_PLUGIN).chmod(0o755)
    return folder


def test_none_where_there_is_none() -> None:
    assert None is find_random_plugin()


def test_the_one_in_the_pulumi_home_is_found(tmp_path: Path) -> None:
    folder = install(tmp_path / "home/plugins/resource-random-v4.21.4")
    assert folder == find_random_plugin()


def test_the_one_on_path_comes_first(tmp_path: Path) -> None:
    install(tmp_path / "home/plugins/resource-random-v4.21.4")
    assert install(tmp_path / "bin") == find_random_plugin()


def test_the_double_bears_the_name_that_pulumi_looks_for() -> None:
    assert (DOUBLE / RANDOM_PLUGIN).stat().st_mode & 0o111
