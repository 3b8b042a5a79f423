"""The state in PostgreSQL: engine, sessions and server are killed, and what was told still holds.

Real engine, real tgtd, real PostgreSQL; the invariants are looked at from outside after each death.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, FailedPrecondition
from tests.support.engine_process import OpenSite, running_site
from tests.support.invariants import check_invariants
from tests.support.postgres import PostgresServer
from tests.support.site import CUSTOMER, Master, Site, initiator_of, log_in
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.tgt, pytest.mark.slow]

CALLERS = 4
# a caller gives up so late: the server is back long before
CALL_S = 60.0


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as name:
        yield name


@pytest.fixture(scope="module")
def site(postgres: PostgresServer, database: str) -> Iterator[Site]:
    """An engine whose state is in PostgreSQL, in a database that it found empty."""
    with running_site(variables={"CLONEPOOL_DATABASE": postgres.url(database)}) as running:
        yield running


@pytest.fixture(scope="module")
def master(site: Site) -> Master:
    return site.image(system_user=CUSTOMER)


class Callers:
    """Callers that attach a server each, and every other one releases it; what they were told."""

    def __init__(self, site: Site, pool: str, count: int) -> None:
        self.attached: dict[str, pb.Attachment] = {}
        self.released: set[str] = set()
        self._site = site
        self._requests = [_request(site, pool) for _ in range(count)]
        self._executor = ThreadPoolExecutor(CALLERS)
        self._local = threading.local()
        self._clients = ExitStack()
        self._running = [
            self._executor.submit(self._live, number, request)
            for number, request in enumerate(self._requests)
        ]

    @property
    def told(self) -> int:
        """How many answers came."""
        return len(self.attached) + len(self.released)

    def _call(self, method: str, request: object) -> pb.Attachment:
        """Ask until it is answered, as a caller does."""
        if not hasattr(self._local, "client"):
            client = EngineClient.connect(endpoint=self._site.engine.endpoint, timeout_s=CALL_S)
            self._local.client = self._clients.enter_context(client)
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                answer: pb.Attachment = self._local.client.call(method, request)
            except ClonepoolError:
                if time.monotonic() > deadline:
                    raise
            else:
                return answer

    def _live(self, number: int, request: pb.CreateAttachmentRequest) -> None:
        answer = wait_for(
            lambda: (got := self._call("CreateAttachment", request)).volume_id and got,
            what="a replica",
            timeout_s=CALL_S,
        )
        self.attached[request.spec.name] = answer
        if number % 2:
            self._call("DeleteAttachment", pb.DeleteAttachmentRequest(id=answer.id))
            self.released.add(answer.id)

    def finish(self) -> None:
        """Wait for all, and hold what they were told against what there is."""
        for each in self._running:
            each.result(2 * CALL_S)
        self._executor.shutdown()
        self._clients.close()
        check_invariants(self._site)
        found = {each.id: each for each in self._site.attachments()}
        kept = [each for each in self.attached.values() if each.id not in self.released]
        assert not found.keys() & self.released
        assert [each.volume_id for each in kept] == [found[each.id].volume_id for each in kept]
        for each in kept:
            log_in(each).close()
            self._site.release(each)


def _request(site: Site, pool: str) -> pb.CreateAttachmentRequest:
    name = site.new_name("server")
    inline = {"name": name, "initiator": initiator_of(name)}
    spec = pb.AttachmentSpec(name=name, pool=pool, inline_server=inline)
    return pb.CreateAttachmentRequest(spec=spec, request_token=name)


def _events(site: Site, reason: str) -> list[pb.Event]:
    request = pb.ListEventsRequest(page_size=1000)
    found: Sequence[pb.Event] = site.call("ListEvents", request).events
    return [event for event in found if event.reason == reason]


@pytest.mark.parametrize("told", [1, 9])
def test_an_engine_that_is_killed_takes_up_its_work(site: Site, master: Master, told: int) -> None:
    """In the middle of filling a pool, of attaching and of releasing."""
    pool = site.declare_pool(master, min_ready=12, max_replicas=24, scrub={"threshold": 4})
    callers = Callers(site, pool, 12)
    wait_for(lambda: callers.told >= told, what=f"{told} answers")
    site.engine.kill()
    site.engine.start()
    callers.finish()
    site.delete_pool(pool)


def test_sessions_that_the_server_ends_are_made_anew_and_nothing_is_lost(
    postgres: PostgresServer, database: str, site: Site, master: Master
) -> None:
    """Again and again, in the middle of changes and of reads."""
    pool = site.pool(master, min_ready=12, max_replicas=24, scrub={"threshold": 4})
    callers = Callers(site, pool, 16)
    ended = 0
    for told in range(2, 20, 2):
        wait_for(lambda told=told: callers.told >= told, what=f"{told} answers", timeout_s=CALL_S)
        ended += postgres.end_sessions(database)
    callers.finish()
    assert ended > 9
    site.delete_pool(pool)


@pytest.mark.parametrize("at_once", [False, True], ids=["stopped", "killed"])
def test_a_server_that_was_away_is_waited_for(
    postgres: PostgresServer, site: Site, master: Master, at_once: bool
) -> None:
    """The engine lives, says what is the matter, and goes on by itself; an event tells of it."""
    pool = site.pool(master, min_ready=12, max_replicas=24, scrub={"threshold": 4})
    before = len(_events(site, "DATABASE_BACK"))
    callers = Callers(site, pool, 12)
    with away(postgres, at_once=at_once, until=lambda: callers.told >= 3):
        with pytest.raises(ClonepoolError):
            site.call("GetPool", pb.GetRequest(name=pool), timeout_s=1)
        assert site.engine.is_running()
    callers.finish()
    wait_for(lambda: len(_events(site, "DATABASE_BACK")) > before, what="the event")
    assert "Traceback" not in site.engine.log.read_text()
    site.delete_pool(pool)


@contextmanager
def away(postgres: PostgresServer, *, at_once: bool, until: Callable[[], bool]) -> Iterator[None]:
    """Without the server for the time of the block, from when ``until`` holds."""
    wait_for(until, what="the moment to stop the server")
    postgres.stop(at_once=at_once)
    try:
        yield
    finally:
        postgres.start()


def test_an_engine_started_before_its_server_says_what_is_missing(
    postgres: PostgresServer, open_site: OpenSite
) -> None:
    nowhere = f"postgresql://clonepool:s3cret@127.0.0.1:{postgres.port}/nothing"
    said = refusal(open_site, nowhere)
    assert "can't be opened" in said
    assert "s3cret" not in said


def refusal(open_site: OpenSite, url: str) -> str:
    """What an engine that can't start with a database says; it says it without a traceback."""
    with pytest.raises(FailedPrecondition) as failed:
        open_site(variables={"CLONEPOOL_DATABASE": url})
    assert "Traceback" not in str(failed.value)
    return str(failed.value)


def test_a_wrong_password_is_told_without_the_password(
    postgres: PostgresServer, database: str, open_site: OpenSite
) -> None:
    postgres.run_sql("DROP ROLE IF EXISTS guest")
    postgres.run_sql("CREATE ROLE guest LOGIN PASSWORD 'right'")
    said = refusal(open_site, postgres.tcp_url(database, login="guest:wr0ng"))
    assert "password authentication failed" in said
    assert "PGPASSWORD" in said
    assert "wr0ng" not in said


def test_a_database_that_is_not_there_is_named(
    postgres: PostgresServer, open_site: OpenSite
) -> None:
    said = refusal(open_site, postgres.url("nothing"))
    assert '"nothing" does not exist' in said
    assert "docs/postgresql.md" in said


def test_a_database_of_a_newer_version_is_refused(
    postgres: PostgresServer, migrated_database: str, open_site: OpenSite
) -> None:
    with postgres.database(template=migrated_database) as name:
        postgres.run_sql("UPDATE alembic_version SET version_num = '9999'", database=name)
        assert "another version of Clonepool" in refusal(open_site, postgres.url(name))


def test_an_engine_without_the_others_key_is_refused(
    postgres: PostgresServer, database: str, site: Site, open_site: OpenSite
) -> None:
    """And none is made, which would look as if it were the right one."""
    assert site.engine.is_running()
    said = refusal(open_site, postgres.url(database))
    assert "--secret-key-file" in said
