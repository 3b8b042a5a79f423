"""What deploy/ ships works as it is: units that systemd accepts, settings that the engine reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from clonepool.cli.settings import load_settings
from tests.support.features import find_program
from tests.support.systemd_unit import DEPLOY, Unit

UNITS = ("clonepool-engine.service", "clonepool-tgtd.service")


@pytest.mark.systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    """The programs need not be there: a stand-in takes each one's place."""
    text = (DEPLOY / name).read_text()
    program = Unit(DEPLOY / name).all("ExecStart")[0].split()[0]
    for other in UNITS:
        words = (DEPLOY / other).read_text() if other != name else text
        (tmp_path / other).write_text(words.replace(program, "/bin/true"))
    analyze = find_program("systemd-analyze")
    assert analyze is not None
    checked = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    complaints = [line for line in checked.stderr.splitlines() if "clonepool" in line]
    assert (0, []) == (checked.returncode, complaints)


def test_the_units_agree_with_each_other_and_with_the_settings() -> None:
    engine, tgtd = (Unit(DEPLOY / name) for name in UNITS)
    settings = load_settings(config_file=str(DEPLOY / "clonepool.toml"), environ={}, user_id=0)
    words = engine.command({})
    assert ["clonepool", "serve", "--config"] == [Path(words[0]).name, *words[1:3]]
    assert engine.all("User") == tgtd.all("User")
    assert f"/run/{tgtd.all('RuntimeDirectory')[0]}/socket" == tgtd.environment["TGT_IPC_SOCKET"]
    options = settings.fabrics["iscsi"].options
    assert f"{tgtd.environment['TGT_IPC_SOCKET']}.0" == options["socket"]
    assert f"/var/lib/{engine.all('StateDirectory')[0]}" == str(settings.state_dir)
    assert f"unix:///run/{engine.all('RuntimeDirectory')[0]}/engine.sock" == settings.listen
    # a restart of the target must not be one of the engine, nor the other way round
    assert [] == [*engine.all("Requires"), *engine.all("BindsTo"), *engine.all("PartOf")]
