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
from tests.faces.stack import Provider, ProviderStack, Stack
from tests.faces.table import Case, Level
from tests.support.engine_process import running_site
from tests.support.plugin_project import write_launcher
from tests.support.site import CUSTOMER, Site

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
def open_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenProvider]:
    """Starts a provider's process, which ends with the session. ``stack`` names its user's."""
    folder = write_launcher(tmp_path_factory.mktemp("plugin"))
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as running:

        def begin(face: Face, endpoint: str, *, stack: str, **variables: str) -> Provider:
            if face is Face.DYNAMIC:
                started = dynamic_face.running(endpoint, stack=stack, **variables)
                return running.enter_context(started)
            if face is Face.PLUGIN:
                return running.enter_context(plugin_face.running(endpoint, folder=folder))
            return running.enter_context(terraform_face.running(endpoint, home=home))

        yield begin


@pytest.fixture(scope="session")
def shared_providers(site: Site, open_provider: OpenProvider) -> dict[Face, Provider]:
    """The processes that most cases use, one a face."""
    return {face: open_provider(face, site.engine.endpoint, stack="trial") for face in Face}


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
    def open_stack(name: str) -> Stack:
        assert case.level is Level.PROVIDER
        provider = shared_providers[face].for_user(name)
        return ProviderStack(provider, partial(open_provider, face, stack=name))

    made = Bench(
        face=face,
        site=site,
        stock=stock,
        prefix=f"c{next(_NUMBERS)}",
        open_stack=open_stack,
        open_fragile_site=lambda: request.getfixturevalue("fragile_site"),
    )
    yield made
    made.close()
