"""What deploy/ ships works as it is: units that systemd accepts, settings that the engine reads."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

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


COMPOSE = DEPLOY.parent / "compose"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return found


def nodes() -> dict[str, Any]:
    return {name: it for name, it in compose()["services"].items() if "build" in it}


def test_each_node_of_the_compose_file_has_settings_that_work() -> None:
    found = [
        load_settings(
            config_file=str(COMPOSE / "clonepool.toml"),
            # the token comes from a file that is not shipped
            environ={**it["environment"], "CLONEPOOL_TOKEN": "t" * 32},
            user_id=1000,
        )
        for it in nodes().values()
    ]
    assert ["node1", "node2"] == [each.node for each in found]
    assert 1 == len({each.database for each in found})
    assert all(each.listen.startswith("tcp://") and each.tls for each in found)


def test_the_compose_files_secrets_are_files_and_the_nodes_have_those_they_name() -> None:
    document = compose()
    assert all(set(it) == {"file"} for it in document["secrets"].values())
    named = set(re.findall(r"/run/secrets/(\w+)", (COMPOSE / "clonepool.toml").read_text()))
    for it in nodes().values():
        assert named <= set(it["secrets"]) <= set(document["secrets"])
    # no password in a variable, which every process of the machine's administrator could print
    words = [text for it in document["services"].values() for text in it["environment"].values()]
    assert [] == [text for text in words if re.search(r"://[^/]*:[^/]*@", text)]


def test_the_image_is_built_from_what_is_there() -> None:
    lines = (COMPOSE / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    assert [] == [path for path in copied if not (DEPLOY.parents[1] / path).exists()]
    build = nodes()["node1"]["build"]
    assert (COMPOSE / build["context"]).resolve() == DEPLOY.parents[1]
    assert (DEPLOY.parents[1] / build["dockerfile"]).exists()
