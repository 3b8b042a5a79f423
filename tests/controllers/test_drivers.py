"""Where drivers find their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.config import DriverSettings, Settings
from clonepool.controllers.drivers import Drivers


def test_imports_are_staged_in_the_storage_of_a_home_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere the finished image would be copied to the storage, or land where nobody looks."""
    monkeypatch.setenv("HOME", str(tmp_path))
    storage = DriverSettings(name="default", driver="file", options={"path": "~/volumes"})
    settings = Settings(
        state_dir=tmp_path / "state",
        listen=f"unix://{tmp_path}/engine.sock",
        node="test",
        storages={"default": storage},
        fabrics={},
    )
    assert tmp_path / "volumes" / "staging" == Drivers(settings).staging_dir("default")
