"""Thousands of servers come and go, and the engine holds what it held at the beginning."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.soak.holding import HEAD, MIB, Holding, take
from tests.support.site import CUSTOMER, RW_LUN, Site, log_in, write_marker
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.tgt, pytest.mark.slow]

CALLERS = 4
STOCK = 8
# a login costs more than everything else of a cycle: every so many servers log in and write
LOGIN_EVERY = 10
SAMPLES = 5
# the database's readers are opened as they are first needed: 16 of them, with two files each
READERS_FDS = 32
# what Python's and tgtd's heaps may still find their size by; a leak of a record a cycle is more
# and each keeps pages of a database that grows meanwhile
SLACK_BYTES = 12 * MIB
SLACK_BYTES_PER_CYCLE = 512


def attach(site: Site, pool: str, *, server: str) -> pb.Attachment:
    """Allocate, and wait in the queue where the cloning is behind."""
    name = site.new_name("attachment")
    spec = pb.AttachmentSpec(name=name, pool=pool, server=server)
    request = pb.CreateAttachmentRequest(spec=spec, request_token=name)

    def ask() -> pb.Attachment | None:
        answer: pb.Attachment = site.call("CreateAttachment", request)
        return answer if answer.state == "attached" else None

    return wait_for(ask, what=f"a volume for {name}")


def one_cycle(site: Site, pool: str, number: int) -> str:
    """A server gets its storage, may use it, and goes; gives the volume and generation it had."""
    attachment = attach(site, pool, server=f"soak-{number % CALLERS}")
    volume = f"{attachment.volume_id} {attachment.volume_generation}"
    if number % LOGIN_EVERY == 0:
        with log_in(attachment) as session:
            assert b"soaked" not in session.read(lun=RW_LUN, lba=0, blocks=1), volume
            write_marker(session, b"soaked")
    site.release(attachment)
    return volume


def run_cycles(site: Site, pool: str, numbers: Sequence[int]) -> list[str]:
    """Each caller has a server of its own: a server's cycles come one after the other."""
    by_server = [[n for n in numbers if n % CALLERS == caller] for caller in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as executor:
        done = executor.map(lambda mine: [one_cycle(site, pool, n) for n in mine], by_server)
        return list(itertools.chain.from_iterable(done))


@pytest.fixture(scope="module")
def pool(site: Site) -> str:
    master = site.image(system_user=CUSTOMER)
    for caller in range(CALLERS):
        name = f"soak-{caller}"
        spec = pb.ServerSpec(name=name, initiator=f"iqn.2026-01.test.clonepool:{name}")
        site.call("CreateServer", pb.CreateServerRequest(spec=spec, request_token=name))
    return site.pool(
        master, min_ready=STOCK, max_replicas=4 * STOCK, scrub=pb.ScrubPolicy(threshold=4)
    )


def test_nothing_grows_with_the_servers_that_came_and_went(
    site: Site, pool: str, cycles: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exports, descriptors, threads, volumes and space stay; memory within a bound."""
    samples: list[Holding] = []
    seen: set[str] = set()
    step = cycles // SAMPLES
    for done in range(0, step * SAMPLES, step):
        volumes = run_cycles(site, pool, range(done, done + step))
        assert step == len(set(volumes))
        assert seen.isdisjoint(volumes), "a generation was handed out twice"
        seen.update(volumes)
        samples.append(take(site, cycles=done + step))
    with capsys.disabled():
        print("\n" + "\n".join([HEAD, *(sample.row() for sample in samples)]))

    first, last = samples[0], samples[-1]
    assert last.engine_fds <= first.engine_fds + READERS_FDS
    assert last.engine_threads <= first.engine_threads + CALLERS
    assert last.tgtd_fds <= first.tgtd_fds + CALLERS
    for sample in samples:
        assert STOCK == sample.targets, sample
        assert 2 * STOCK == sample.luns, sample
        # in stock, and below the threshold
        assert STOCK <= sample.volumes < STOCK + 4, sample
        assert sample.objects == sample.volumes + 2, sample
    allowed = SLACK_BYTES + SLACK_BYTES_PER_CYCLE * (last.cycles - first.cycles)
    assert last.engine_bytes - first.engine_bytes <= allowed
    assert last.tgtd_bytes - first.tgtd_bytes <= allowed
    assert last.storage_bytes <= first.storage_bytes * (STOCK + 4) / STOCK
