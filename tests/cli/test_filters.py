"""What names nothing is an error that says so, on a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clonepool.cli import FAILED, OK, main
from tests.support.engine_process import running_site
from tests.support.site import CUSTOMER, Site


@pytest.fixture(scope="module")
def stocked() -> Iterator[tuple[Site, str]]:
    """An engine with a pool that has nothing in it, by its name."""
    with running_site() as site:
        pool = site.pool(site.image(system_user=CUSTOMER), fabric="local", min_ready=0)
        yield site, pool


@pytest.fixture
def pool(stocked: tuple[Site, str], monkeypatch: pytest.MonkeyPatch) -> str:
    site, name = stocked
    monkeypatch.setenv("CLONEPOOL_ENDPOINT", site.engine.endpoint)
    return name


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize(
    "command",
    ["hold list", "attachment list", "volume list", "scrub runs", "scrub records"],
)
def test_a_list_of_an_unknown_pool_fails_and_of_an_empty_one_is_empty(
    pool: str, capsys: pytest.CaptureFixture[str], command: str, json: list[str]
) -> None:
    assert OK == main([*command.split(), "--pool", pool, *json])
    assert ("[]" if json else "no ") in capsys.readouterr().out

    assert FAILED == main([*command.split(), "--pool", "typo", *json])
    told = "error: there is no pool typo; `clonepool pool list` shows what there is\n"
    assert ("", told) == capsys.readouterr()


def test_attachments_of_an_unknown_server_fail(
    pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FAILED == main(["attachment", "list", "--pool", pool, "--server", "typo"])
    told = "error: there is no server typo; `clonepool server list` shows what there is\n"
    assert ("", told) == capsys.readouterr()


@pytest.mark.parametrize(
    ("command", "thing", "listing"),
    [
        ("image show", "master image", "image list"),
        ("pool show", "pool", "pool list"),
        ("server show", "server", "server list"),
        ("attachment show", "attachment", "attachment list"),
        ("hold show", "ticket", "hold list"),
    ],
)
def test_what_is_not_there_is_named_with_the_list_of_what_is(
    pool: str, capsys: pytest.CaptureFixture[str], command: str, thing: str, listing: str
) -> None:
    assert FAILED == main([*command.split(), "typo"])
    told = capsys.readouterr().err
    assert told.startswith(f"error: there is no {thing} typo")
    assert told.endswith(f"; `clonepool {listing}` shows what there is\n")
