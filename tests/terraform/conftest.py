"""One real engine for the folder's tests, and Terraform projects that use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clonepool.testing.images import make_ext4_image
from tests.support.engine_process import OpenSite, open_site, running_site
from tests.support.features import find_terraform, find_tofu
from tests.support.site import IMAGE_BYTES, Site
from tests.terraform.project import TerraformProject
from tools import pulumi_extras

__all__ = ["OpenSite", "open_site"]

MakeProject = Callable[..., TerraformProject]


@pytest.fixture(scope="session")
def engine_site() -> Iterator[Site]:
    """The engine that most tests share; each names its things for itself."""
    with running_site() as site:
        yield site


@pytest.fixture(scope="session")
def source(engine_site: Site) -> Path:
    """A small ext4 image to import."""
    engine_site.sources.mkdir(exist_ok=True)
    path = engine_site.sources / "base.img"
    return make_ext4_image(path, size_bytes=IMAGE_BYTES, files={"/etc/owner": "acme\n"})


@pytest.fixture(scope="session")
def tofu() -> str:
    """OpenTofu's program; for tests marked ``tofu``."""
    return find_tofu() or str(pulumi_extras.ensure(["tofu"]) / "tofu")


@pytest.fixture(scope="session")
def terraform(request: pytest.FixtureRequest) -> str:
    """Terraform's program, else OpenTofu's; for tests marked ``terraform``."""
    found = find_terraform()
    return found if found is not None else str(request.getfixturevalue("tofu"))


@pytest.fixture(scope="session")
def terraform_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the provider was installed as users do it."""
    home = tmp_path_factory.mktemp("home")
    program = Path(sys.executable).parent / "clonepool"
    subprocess.run(
        [program, "terraform", "install"],
        check=True,
        env={"HOME": str(home), "PATH": f"{program.parent}:/usr/bin:/bin"},
        capture_output=True,
        timeout=60,
    )
    return home


@pytest.fixture
def make_project(
    tmp_path: Path, terraform: str, terraform_home: Path, engine_site: Site
) -> MakeProject:
    """Lay out a project; ``endpoint`` is the shared engine's unless another one is said."""

    def make(name: str = "project", *, endpoint: str = "", **variables: str) -> TerraformProject:
        return TerraformProject(
            folder=tmp_path / name,
            home=terraform_home,
            terraform=terraform,
            variables={
                "CLONEPOOL_ENDPOINT": endpoint or engine_site.engine.endpoint,
                **variables,
            },
        )

    return make


@pytest.fixture
def project(make_project: MakeProject) -> TerraformProject:
    return make_project()
