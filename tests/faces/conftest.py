"""One engine for all cases, one provider process for each face, and stacks on top of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.faces import dynamic_face, plugin_face, terraform_face
from tests.faces.bench import Bench, Stock
from tests.faces.model import Face
from tests.faces.pulumi_command import PulumiStack
from tests.faces.stack import CommandStack, Provider, ProviderStack, Stack
from tests.faces.table import Case, Level
from tests.faces.terraform_command import TerraformStack
from tests.plugin.conftest import yaml_bin
from tests.support.engine_process import running_site
from tests.support.features import find_terraform
from tests.support.plugin_project import YamlProject, write_launcher
from tests.support.pulumi_project import PulumiProject
from tests.support.site import CUSTOMER, Site
from tests.terraform.conftest import terraform_home
from tests.terraform.project import TerraformProject

__all__ = ["terraform_home", "yaml_bin"]

OpenProvider = Callable[..., Provider]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture(scope="session")
def fragile_site() -> Iterator[Site]:
    """An engine that cases kill, and start again."""
    with running_site() as running:
        yield running


@pytest.fixture(scope="session")
def stock(site: Site) -> Stock:
    own, shared = site.image(system_user=CUSTOMER), site.image()
    return Stock(own=own, shared=shared, source=own.writable)


@pytest.fixture(scope="session")
def open_provider(tmp_path_factory: pytest.TempPathFactory) -> OpenProvider:
    """Starts a provider's process, which ends with ``until``. ``stack`` names its user's."""
    folder = write_launcher(tmp_path_factory.mktemp("plugin"))
    home = tmp_path_factory.mktemp("home")

    def begin(
        until: ExitStack, face: Face, endpoint: str, *, stack: str, **variables: str
    ) -> Provider:
        if face is Face.DYNAMIC:
            started = dynamic_face.running(endpoint, stack=stack, **variables)
            return until.enter_context(started)
        if face is Face.PLUGIN:
            return until.enter_context(plugin_face.running(endpoint, folder=folder))
        return until.enter_context(terraform_face.running(endpoint, home=home))

    return begin


@pytest.fixture(scope="session")
def shared_providers(site: Site, open_provider: OpenProvider) -> Iterator[dict[Face, Provider]]:
    """The processes that most cases use, one a face."""
    endpoint = site.engine.endpoint
    with ExitStack() as until:
        yield {face: open_provider(until, face, endpoint, stack="trial") for face in Face}


@pytest.fixture(scope="session")
def pulumi_python(
    tmp_path_factory: pytest.TempPathFactory, pulumi_bin: Path, site: Site
) -> PulumiProject:
    """A project of the dynamic classes, with its one stack."""
    project = PulumiProject(
        folder=tmp_path_factory.mktemp("python"),
        pulumi_bin=pulumi_bin,
        variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
    )
    project.create("")
    return project


@pytest.fixture(scope="session")
def pulumi_yaml(
    tmp_path_factory: pytest.TempPathFactory, pulumi_bin: Path, site: Site, yaml_bin: Path
) -> YamlProject:
    """A project of the plugin, with its one stack."""
    folder = tmp_path_factory.mktemp("yaml")
    project = YamlProject(
        folder=folder,
        pulumi_bin=pulumi_bin,
        plugin_folders=[write_launcher(folder / "bin"), yaml_bin],
        variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
    )
    project.create("resources: {}\n")
    return project


@pytest.fixture(scope="session")
def terraform_folder(
    tmp_path_factory: pytest.TempPathFactory, terraform_home: Path, site: Site
) -> TerraformProject:
    """A working directory that is initialized."""
    terraform = find_terraform()
    assert terraform is not None, "this case needs the marker terraform"
    project = TerraformProject(
        folder=tmp_path_factory.mktemp("terraform"),
        home=terraform_home,
        terraform=terraform,
        variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
    )
    project.init("")
    return project


@pytest.fixture
def dynamic_command(pulumi_python: PulumiProject) -> CommandStack:
    return PulumiStack(pulumi_python, face=Face.DYNAMIC)


@pytest.fixture
def plugin_command(pulumi_yaml: YamlProject) -> CommandStack:
    return PulumiStack(pulumi_yaml, face=Face.PLUGIN)


@pytest.fixture
def terraform_command(terraform_folder: TerraformProject) -> CommandStack:
    return TerraformStack(terraform_folder)


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    case: Case,
    face: Face,
    site: Site,
    stock: Stock,
    open_provider: OpenProvider,
    shared_providers: dict[Face, Provider],
) -> Iterator[Bench]:
    """Where the case is played; what it leaves goes with it."""
    until = ExitStack()

    def open_stack(name: str) -> Stack:
        if case.level is Level.COMMAND_LINE:
            stack: Stack = request.getfixturevalue(f"{face}_command")
            return stack
        provider = shared_providers[face].for_user(name)
        return ProviderStack(provider, partial(open_provider, until, face, stack=name))

    made = Bench(
        face=face,
        site=site,
        stock=stock,
        prefix=f"c{next(_NUMBERS)}",
        open_stack=open_stack,
        open_fragile_site=lambda: request.getfixturevalue("fragile_site"),
    )
    with until:
        yield made
        made.close()
