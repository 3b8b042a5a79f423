"""The examples as users run them: preview, up, and a second up that finds nothing to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clonepool.backends.lvm_settings import read_lvm_settings
from clonepool.cli.settings import load_settings
from clonepool.fabrics.registry import create_fabric
from tests.provider.faulty_engine import SECRET, FaultyEngine
from tests.support.pulumi_project import VENV, PulumiProject

pytestmark = [pytest.mark.pulumi, pytest.mark.slow]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lay_out(example: str, *, folder: Path, project: PulumiProject, **config: str) -> None:
    """A copy of the example with a stack of its own; only the environment's path differs."""
    program = folder / "program"
    shutil.copytree(EXAMPLES / example, program)
    described = program / "Pulumi.yaml"
    text = described.read_text()
    assert "virtualenv: ../../.venv" in text
    described.write_text(text.replace("../../.venv", str(VENV)))
    (folder / "state").mkdir()
    project.run("stack", "init", "test")
    for name, value in config.items():
        project.run("config", "set", name, value)


def test_the_minimal_example(
    tmp_path: Path, pulumi_bin: Path, endpoint: str, engine: FaultyEngine
) -> None:
    project = PulumiProject(
        folder=tmp_path, pulumi_bin=pulumi_bin, variables={"CLONEPOOL_ENDPOINT": endpoint}
    )
    lay_out("minimal", folder=tmp_path, project=project, image="/images/web.raw")

    assert "+ 4 to create" in project.run("preview").text
    project.run("up", "--skip-preview")
    assert "4 unchanged" in project.run("preview", "--expect-no-changes").text

    outputs = project.outputs()
    assert ("cp-1", SECRET) == (outputs["chap_username"], outputs["chap_secret"])
    assert "iscsi" == outputs["connection"]["fabric"]
    assert ["minimal-test-web1"] == engine.attachments.names()
    project.run("destroy", "--skip-preview")
    assert [] == engine.attachments.names()


def test_the_example_on_lvm(
    tmp_path: Path, pulumi_bin: Path, endpoint: str, engine: FaultyEngine
) -> None:
    project = PulumiProject(
        folder=tmp_path, pulumi_bin=pulumi_bin, variables={"CLONEPOOL_ENDPOINT": endpoint}
    )
    lay_out("lvm", folder=tmp_path, project=project, image="/srv/images/database.raw")
    project.run("up", "--skip-preview")
    assert "5 unchanged" in project.run("preview", "--expect-no-changes").text
    (image,) = engine.images.items.values()
    (pool,) = engine.pools.items.values()
    assert ("thin", "kernel", "thin") == (
        image.spec.storage,
        pool.spec.fabric,
        pool.spec.clone_mode,
    )
    assert ("zero", "full") == (pool.spec.scrub.method, pool.spec.scrub.verify)
    assert {"db1", "db2"} == set(project.outputs())


def test_the_settings_of_the_example_on_lvm_are_ones_that_its_program_needs() -> None:
    settings = load_settings(config_file=str(EXAMPLES / "lvm/clonepool.toml"), environ={})
    pool = read_lvm_settings(settings.storages["thin"].options)
    assert ("san/pool", 85, 75) == (pool.pool, pool.data_watermark, pool.metadata_watermark)
    create_fabric(settings.fabrics["kernel"], state_dir=settings.state_dir)


def test_the_fleet_example_grows_and_shrinks(
    tmp_path: Path, pulumi_bin: Path, random_plugin: Path, endpoint: str, engine: FaultyEngine
) -> None:
    project = PulumiProject(
        folder=tmp_path,
        pulumi_bin=pulumi_bin,
        plugin_folders=[random_plugin],
        variables={"CLONEPOOL_ENDPOINT": endpoint},
    )
    sources = {"image": "/images/web.raw", "base": "/images/base.raw"}
    lay_out("pulumi-python", folder=tmp_path, project=project, **sources)

    # the servers' names are not known yet, and nothing of the preview trips over that
    assert "+ 12 to create" in project.run("preview", "--diff").text
    project.run("up", "--skip-preview")
    assert "12 unchanged" in project.run("preview", "--expect-no-changes").text
    assert {f"server-{number}" for number in (1, 2, 3)} == set(project.outputs()["storage"])
    users = {item.spec.system_user.name for item in engine.attachments.items.values()}
    assert {"acme", "globex"} == users

    project.run("config", "set", "servers", "2")
    assert "- 3 deleted" in project.run("up", "--skip-preview").text
    assert 2 == len(engine.servers.items) == len(engine.attachments.items)
