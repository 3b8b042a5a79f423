"""Reads: aligned text for people, and JSON with the API's own names for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli.output import format_table
from clonepool.domain.model import ServerSpec
from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine

USER = ("--system-user", "customer/acme")


@pytest.fixture
def stocked(run: Run, engine: FakeEngine) -> Run:
    """One of each kind, made by the command line itself."""
    made = [
        ("image", "create", "web", "--writable", "/srv/web.raw", "--label", "a=b", "--no-wait"),
        ("pool", "create", "web", "--image", "web", "--min-ready", "3", "--scrub-threshold", "5"),
        ("server", "create", "web1", "--initiator", "iqn.2026-01.com.example:web1"),
        ("attach", "data", "--pool", "web", "--server", "web1", *USER),
    ]
    for command in made:
        code, _, error = run(*command)
        assert (0, "") == (code, error)
    engine.events.add("pool/web")
    return run


READS = [
    (("status",), ["engine", "pools"]),
    (("image", "list"), pb.MasterImage),
    (("image", "show", "web"), ["image", "versions"]),
    (("pool", "list"), pb.ReplicaPool),
    (("pool", "show", "web"), pb.ReplicaPool),
    (("server", "list"), pb.Server),
    (("server", "show", "web1"), pb.Server),
    (("attachment", "list"), pb.Attachment),
    (("attachment", "show", "data"), pb.Attachment),
    (("volume", "list"), pb.Volume),
    (("volume", "show", "volume-1"), pb.Volume),
    (("scrub", "runs"), pb.ScrubRun),
    (("scrub", "records"), pb.ScrubRecord),
    (("node", "list"), pb.Node),
    (("node", "show", "node1"), pb.Node),
    (("orphan", "list"), pb.Orphan),
    (("operation", "list"), pb.Operation),
    (("operation", "show", "operation-1"), pb.Operation),
    (("events",), pb.Event),
]


@pytest.mark.parametrize(("command", "shape"), READS)
def test_json_has_every_field_by_its_name_in_the_api(
    stocked: Run, command: tuple[str, ...], shape: Any
) -> None:
    """A program can rely on the keys: also what is absent is there, as null."""
    code, out, _ = stocked(*command, "--json")

    found = json.loads(out)
    first = found[0] if isinstance(found, list) else found
    expected = shape if isinstance(shape, list) else list(shape.DESCRIPTOR.fields_by_name)
    assert code == 0
    assert expected == list(first)


@pytest.mark.parametrize(("command", "_shape"), READS)
def test_for_people_every_read_prints_something(
    stocked: Run, command: tuple[str, ...], _shape: Any
) -> None:
    code, out, error = stocked(*command)

    assert (0, "") == (code, error)
    assert "web" in out or "volume-1" in out or "default" in out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("image", "list"), "no images"),
        (("pool", "list"), "no pools"),
        (("server", "list"), "no servers"),
        (("attachment", "list"), "no attachments"),
        (("events",), "no events"),
    ],
)
def test_nothing_there_is_said(run: Run, command: tuple[str, ...], words: str) -> None:
    assert (0, f"{words}\n", "") == run(*command)


def test_json_of_nothing_is_an_empty_list(run: Run) -> None:
    assert (0, "[]\n", "") == run("pool", "list", "--json")


def test_a_table_is_aligned_and_its_empty_cells_can_be_counted(stocked: Run) -> None:
    _, out, _ = stocked("pool", "list")

    heading, row = out.splitlines()
    assert heading.split() == [
        "POOL", "IMAGE", "VERSION", "READY", "HELD", "ALLOCATED", "RELEASED", "WAITING", "STATE",
    ]  # fmt: skip
    cells = ["web", "web", "-", "3/3", "2", "0", "2/5", "4", "1 cloning"]
    assert row.split(maxsplit=8) == cells
    assert heading.index("STATE") == row.index("1 cloning")


def test_a_table_keeps_its_columns_with_wide_cells() -> None:
    rows = [("a", "x" * 30, "1"), ("bb", "", "2")]

    assert format_table(("name", "long one", "n"), rows) == (
        f"NAME  LONG_ONE{' ' * 22}  N\n"
        f"a     {'x' * 30}  1\n"
        f"bb    -{' ' * 29}  2"
    )  # fmt: skip


def test_json_has_numbers_as_numbers_times_as_iso_and_users_in_words(stocked: Run) -> None:
    _, out, _ = stocked("volume", "show", "volume-1", "--json")

    found = json.loads(out)
    assert found["size_bytes"] == 10 * 2**30
    assert found["created_at"] == "2023-11-14T22:13:20.250Z"
    assert found["last_system_user"] == {"name": "acme", "kind": "customer"}


def test_json_of_a_map_and_of_what_is_absent(stocked: Run) -> None:
    _, out, _ = stocked("image", "show", "web", "--json")

    image = json.loads(out)["image"]
    assert image["spec"]["labels"] == {"a": "b"}
    assert image["spec"]["system_user"] is None
    assert image["current"] is None


def test_the_chap_secret_is_shown_on_demand_only(stocked: Run) -> None:
    shown = [stocked("attachment", "show", "data", *more)[1] for more in ((), ("--json",))]
    asked = [
        stocked("attachment", "show", "data", "--secret", *more)[1] for more in ((), ("--json",))
    ]

    assert ["made-by-the-engine" in text for text in shown + asked] == [False, False, True, True]


def test_a_thing_is_found_by_its_id_too(stocked: Run, engine: FakeEngine) -> None:
    pool_id = next(iter(engine.pools.items))

    assert stocked("pool", "show", pool_id) == stocked("pool", "show", "web")


def test_a_name_that_looks_like_an_id_is_found(stocked: Run) -> None:
    name = "0" * 8 + "-0000" * 3 + "-" + "0" * 12
    stocked("server", "create", name)

    code, out, _ = stocked("server", "show", name)

    assert code == 0
    assert name in out


def test_a_listing_reads_every_page(run: Run, engine: FakeEngine) -> None:
    """1001 servers are two pages of the API."""
    for number in range(1001):
        engine.servers.create(spec=ServerSpec(name=f"s{number}"), token="t")

    _, out, _ = run("server", "list", "--json")

    assert len(json.loads(out)) == 1001


def test_status_says_how_storages_fabrics_and_pools_are(stocked: Run) -> None:
    _, out, _ = stocked("status")

    assert "1 image, 1 pool, 1 server, 1 attachment, 1 volume\n" in out
    assert "storage default: file, thin clones (reflink), 40 GiB free of 100 GiB" in out
    assert "fabric iscsi: tgtd is away" in out
