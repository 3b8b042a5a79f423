"""The plugin of this checkout, the language hosts beside it, and engines for it to speak to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugin.harness import Plugin, running_plugin
from tests.provider.conftest import client, endpoint, engine, socket_path
from tests.support.engine_process import open_site, site
from tests.support.plugin_project import YamlProject, write_launcher
from tools import pulumi_cli, pulumi_extras

__all__ = ["client", "endpoint", "engine", "open_site", "site", "socket_path"]

MakeYaml = Callable[..., YamlProject]


def built(*names: str) -> Path:
    """The folder of what is built from Go modules; a test is skipped where they can't be had."""
    try:
        return pulumi_extras.ensure(names)
    except pulumi_cli.Failed as error:
        if pulumi_cli.in_ci():
            raise
        pytest.skip(f"{', '.join(names)}: {error}")


@pytest.fixture(scope="session")
def plugin_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH that holds the plugin."""
    return write_launcher(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def plugin(plugin_bin: Path) -> Iterator[Plugin]:
    """A plugin process, spoken to as Pulumi's engine does; not configured yet."""
    with running_plugin(plugin_bin) as running:
        yield running


@pytest.fixture(scope="session")
def yaml_bin() -> Path:
    """The folder of the YAML language host; for tests marked ``pulumi_yaml``."""
    return built("yaml")


@pytest.fixture(scope="session")
def node_bin() -> Path:
    """The folder of the Node.js language host; for tests marked ``go``."""
    return built("nodejs")


@pytest.fixture
def make_yaml(tmp_path: Path, pulumi_bin: Path, yaml_bin: Path, plugin_bin: Path) -> MakeYaml:
    """Lay out a YAML project whose stack uses the engine at ``endpoint``."""

    def make(program: str, *, endpoint: str, **variables: str) -> YamlProject:
        project = YamlProject(
            folder=tmp_path / "pulumi",
            pulumi_bin=pulumi_bin,
            plugin_folders=[plugin_bin, yaml_bin],
            variables={"CLONEPOOL_ENDPOINT": endpoint, **variables},
        )
        project.create(program)
        return project

    return make
