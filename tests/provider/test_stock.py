"""What a preview may say of stock: short, once, in a second at most, and never an error."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.protobuf.message import Message

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import DeadlineExceeded, FailedPrecondition, PermissionDenied
from clonepool_resources.image_fields import MASTER_IMAGE
from clonepool_resources.lifecycle import Caller
from clonepool_resources.pool_fields import REPLICA_POOL
from clonepool_resources.server_fields import ATTACHMENT, SERVER
from clonepool_resources.stock import CONNECT_WAIT_S, VARIABLE, Remark, Stock
from tests.support.engine_process import OpenSite, open_site
from tests.support.site import CUSTOMER

__all__ = ["open_site"]

AWAY = "unix:///nowhere/engine.sock"


class Shelves:
    """Pools and images as an engine lists them; each question takes ``takes_s``."""

    def __init__(self, *pools: pb.ReplicaPool, takes_s: float = 0.0) -> None:
        self.pools = {pool.spec.name: pool for pool in pools}
        self.asked: list[str] = []
        self.now = 0.0
        self.takes_s = takes_s

    def call(self, method: str, request: Message, *, timeout_s: float | None = None) -> Any:
        assert timeout_s is not None
        self.asked.append(method)
        self.now += min(self.takes_s, timeout_s)
        if self.takes_s > timeout_s:
            raise DeadlineExceeded("no answer in time")
        if method == "ListPools":
            return pb.ListPoolsResponse(pools=self.pools.values())
        if method == "GetImage":
            return pb.MasterImage(current=pb.ImageVersion(number=2))
        assert isinstance(request, pb.GetRequest)
        return self.pools[request.name]

    def stock(self, *, hold: str = "") -> Stock:
        return Stock(lambda: self, hold=hold, clock=lambda: self.now)


def pool(
    name: str = "web", *, stopped: str = "", space: str = "", when_empty: str = "", **counts: int
) -> Any:
    spec = pb.PoolSpec(name=name, master_image="base", min_ready=10, when_empty=when_empty)
    numbers = pb.PoolCounts(**counts)
    return pb.ReplicaPool(spec=spec, stopped_reason=stopped, short_of_space=space, counts=numbers)


def text(remark: Remark | None) -> str:
    assert remark is not None
    return remark.text


@pytest.mark.parametrize(
    ("found", "said", "short"),
    [
        (pool(ready=7), "pool web: ready 7 of 10 now", False),
        (pool(ready=12), "pool web: ready 12 now", False),
        (pool(ready=7, stale=4), "pool web: ready 3 of 10 now", False),
        (pool(ready=2, stale=2), "pool web: ready 0 of 10 now; an attachment would wait", True),
        (
            pool(waiting=3),
            "pool web: ready 0 of 10 now; an attachment would wait, 3 before it",
            True,
        ),
        (
            pool(waiting=1, space="storage default has 0 B free"),
            "an attachment would wait, 1 before it: its storage has no room for more",
            True,
        ),
        (pool(when_empty="fail"), "would fail (when_empty is fail)", True),
        (pool(stopped="no space\nleft"), "now; its filling stopped: no space left", True),
    ],
)
def test_what_an_attachment_finds_in_its_pool(found: Any, said: str, short: bool) -> None:
    remark = Shelves(found).stock().of_create(ATTACHMENT, {"pool": "web"})

    assert remark is not None
    assert (said in remark.text, short) == (True, remark.is_short)


@pytest.mark.parametrize(("hold", "short"), [("", True), ("a-ticket", False)])
def test_what_is_held_is_there_for_who_brings_a_ticket(hold: str, short: bool) -> None:
    """Whose ticket it is, only a forecast asks: who brings one is not told that stock is short."""
    remark = Shelves(pool(ready=3, held=3)).stock(hold=hold).of_create(ATTACHMENT, {"pool": "web"})

    assert remark is not None
    assert remark.text.startswith("pool web: ready 3 of 10 now (3 held for tickets)")
    assert short == remark.is_short


def test_a_pool_s_stock_is_asked_for_once_and_said_once_however_many_ask() -> None:
    shelves = Shelves(pool(ready=7))
    stock = shelves.stock()

    with ThreadPoolExecutor(16) as threads:
        said = list(threads.map(lambda _: stock.of_create(ATTACHMENT, {"pool": "web"}), range(100)))

    assert ["GetPool"] == shelves.asked
    assert ["pool web: ready 7 of 10 now"] == [remark.text for remark in said if remark]


def test_what_a_changed_pool_or_image_holds() -> None:
    shelves = Shelves(pool(ready=7, allocated=2, released=1), pool("shop", ready=1, attaching=1))
    stock = shelves.stock()

    held = "pool web: ready 7, allocated 2, released 1 now"
    made = "master image base: version 2 in 2 pools: ready 8, allocated 3, released 1 now"
    assert held == text(stock.of_change(REPLICA_POOL, {"name": "web"}))
    assert made == text(stock.of_change(MASTER_IMAGE, {"name": "base"}))
    assert held == text(shelves.stock().of_create(REPLICA_POOL, {"name": "web"}))


def test_what_has_no_stock_or_no_known_name_asks_nothing() -> None:
    shelves = Shelves()
    stock = shelves.stock()

    assert stock.of_create(SERVER, {"name": "web1"}) is None
    assert stock.of_change(ATTACHMENT, {"name": "a1", "pool": "web"}) is None
    assert stock.of_create(ATTACHMENT, {"pool": object()}) is None
    assert [] == shelves.asked


def test_all_questions_of_a_process_take_a_second_at_most() -> None:
    shelves = Shelves(*(pool(f"web{number}", ready=1) for number in range(9)), takes_s=0.4)
    stock = shelves.stock()

    remarks = [stock.of_create(ATTACHMENT, {"pool": name}) for name in shelves.pools]

    assert 3 == len(shelves.asked)
    assert pytest.approx(1.0) == shelves.now
    assert [False, False, True] == [remark.is_about_engine for remark in remarks if remark]


@pytest.mark.parametrize("error", [PermissionDenied("the token is wrong"), RuntimeError("defect")])
def test_an_engine_that_does_not_answer_is_one_line(error: Exception) -> None:
    def connect() -> Caller:
        raise error

    stock = Stock(connect)
    said = [stock.of_create(ATTACHMENT, {"pool": name}) for name in ("web", "shop", "web")]

    (remark,) = filter(None, said)
    assert f"nothing is known of stock: {error}" == remark.text
    assert (True, False) == (remark.is_about_engine, remark.is_short)


def test_an_engine_whose_place_is_not_known_yet_is_no_line_at_all() -> None:
    def connect() -> Caller:
        raise FailedPrecondition("the provider's endpoint is only known after the update")

    assert Stock(connect).of_create(ATTACHMENT, {"pool": "web"}) is None


@pytest.mark.parametrize("word", ["off", "OFF"])
def test_it_can_be_switched_off(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, word)
    shelves = Shelves(pool(ready=7))

    assert shelves.stock().of_create(ATTACHMENT, {"pool": "web"}) is None
    assert [] == shelves.asked


@pytest.fixture
def away() -> Iterator[EngineClient]:
    with EngineClient.connect(endpoint=AWAY, connect_wait_s=CONNECT_WAIT_S) as client:
        yield client


def test_no_engine_at_all(away: EngineClient) -> None:
    remark = Stock(lambda: away).of_create(ATTACHMENT, {"pool": "web"})

    assert f"nothing is known of stock: no engine answers at {AWAY}; start it with" in text(remark)


def test_a_real_engine_s_pools(open_site: OpenSite) -> None:
    """What is not there yet has nothing to be said of; what is there is counted."""
    site = open_site()
    master = site.image(system_user=CUSTOMER)
    name = site.pool(master, min_ready=2, fabric="local")
    image = {"name": master.name}

    def stock() -> Stock:
        return Stock(lambda: site.client)

    assert stock().of_create(ATTACHMENT, {"pool": "nowhere"}) is None
    assert stock().of_create(REPLICA_POOL, {"name": "nowhere"}) is None
    assert f"pool {name}: ready 2 of 2 now" == text(stock().of_create(ATTACHMENT, {"pool": name}))
    site.change_pool(name, max_replicas=2)
    for _ in range(2):
        site.attach(name)
    assert "would wait" in text(stock().of_create(ATTACHMENT, {"pool": name}))
    assert "version 1 in 1 pool: ready 0, allocated 2" in text(
        stock().of_change(MASTER_IMAGE, image)
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("maybe", "CLONEPOOL_PREVIEW_STOCK: 'maybe' is neither on nor off; "),
        ("off", ""),
        ("OFF", ""),
        ("on", ""),
        ("", ""),
    ],
)
def test_a_switch_that_says_nothing_known_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    stock = Shelves(pool(ready=1)).stock()

    told = stock.of_switch()
    assert bool(said) == (told is not None)
    assert told is None or (told.text.startswith(said) and told.is_short)
    assert stock.of_switch() is None
    assert ("off" == value.lower()) == (stock.of_create(ATTACHMENT, {"pool": "web"}) is None)
