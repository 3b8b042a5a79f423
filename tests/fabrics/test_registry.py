"""Fabrics are made from settings; what is misspelt is named, with what is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clonepool.config import DriverSettings
from clonepool.errors import InvalidArgument
from clonepool.fabrics.registry import FABRIC_DRIVERS, create_fabric


def settings(driver: str, **options: str) -> DriverSettings:
    return DriverSettings(name="san", driver=driver, options=options)


@pytest.mark.parametrize("driver", sorted(FABRIC_DRIVERS))
def test_every_driver_is_made_and_touches_nothing_yet(driver: str, tmp_path: Path) -> None:
    fabric = create_fabric(settings(driver), state_dir=tmp_path / "state")
    fabric.close()
    assert not (tmp_path / "state").exists()


def test_an_unknown_driver_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="iscsi, lio, local, memory"):
        create_fabric(settings("fc"), state_dir=tmp_path)


@pytest.mark.parametrize(
    ("driver", "options", "says"),
    [
        ("iscsi", {"portall": "127.0.0.1:3260"}, "advertise, iqn_prefix, max_targets, portal"),
        ("local", {"portal": "127.0.0.1:3260"}, "read_only"),
        ("memory", {"x": "y"}, "none"),
        ("iscsi", {"portal": "127.0.0.1"}, "address:port"),
        ("iscsi", {"portal": "127.0.0.1:99999"}, "address:port"),
        ("iscsi", {"portal": "0.0.0.0:3260"}, "advertise"),
        ("iscsi", {"portal": "[::]:3260"}, "advertise"),
        ("iscsi", {"socket": "/run/tgtd/socket.0"}, "advertise"),
        ("iscsi", {"advertise": "nowhere"}, "address:port"),
        ("iscsi", {"iqn_prefix": "iqn.2026-13.io.x"}, "iqn.2026-01.io.clonepool"),
        ("iscsi", {"iqn_prefix": "iqn.2026-01.IO.x"}, "lower case"),
        ("iscsi", {"iqn_prefix": "clonepool"}, "iqn.2026-01.io.clonepool"),
        ("iscsi", {"max_targets": "0"}, "whole number"),
        ("iscsi", {"max_targets": "many"}, "whole number"),
        ("iscsi", {"revoke_timeout": "soon"}, "duration"),
        ("lio", {"socket": "/run/tgtd/socket.0"}, "advertise, iqn_prefix, portal, revoke_timeout"),
        ("lio", {"portal": "127.0.0.1"}, "address:port"),
        ("lio", {"portal": "127.0.0.1:0"}, "chooses no port"),
        ("lio", {"portal": "san1.example:3260"}, "IP address"),
        ("lio", {"portal": ","}, "at least one"),
        ("lio", {"portal": "192.0.2.1:3260,0.0.0.0:3260"}, "advertise"),
        ("lio", {"iqn_prefix": "clonepool"}, "iqn.2026-01.io.clonepool"),
        ("lio", {"revoke_timeout": "soon"}, "duration"),
        ("local", {"read_only": "maybe"}, "auto, bind, mode"),
    ],
)
def test_an_option_that_is_wrong_is_refused_with_the_way_out(
    tmp_path: Path, driver: str, options: dict[str, str], says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says.replace("[", r"\[")) as refusal:
        create_fabric(settings(driver, **options), state_dir=tmp_path)
    assert "san" in str(refusal.value) or "iqn_prefix" in str(refusal.value)


def test_a_real_deployments_options_are_taken(tmp_path: Path) -> None:
    options = {"portal": "0.0.0.0:3260", "advertise": "192.0.2.1:3260, 192.0.2.2:3260"}
    create_fabric(settings("iscsi", **options), state_dir=tmp_path)
    create_fabric(settings("lio", **options), state_dir=tmp_path)
    two = {"portal": "192.0.2.1:3260, [2001:db8::1]:3260"}
    create_fabric(settings("lio", **two), state_dir=tmp_path)


def test_a_driver_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys, clonepool.fabrics.registry; "
        "print([m for m in sys.modules if m.startswith('clonepool.fabrics.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "iscsi" not in done.stdout
    assert "local" not in done.stdout
