"""Any request to any RPC: answered or refused in words, and what is refused makes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.fuzz.conftest import COUNT, SEED, World
from tests.fuzz.goods import make_one_of_each
from tests.fuzz.messages import SERVICE
from tests.fuzz.target import Fuzz, Target
from tests.support.engine_process import OpenSite
from tests.support.waiting import wait_for

_DEFECT = re.compile(r"^(internal error|[A-Z]\w*Error: )")


def test_random_requests_are_refused_in_words_or_done(
    world: World, report: Callable[[str], None]
) -> None:
    goods = make_one_of_each(world.target, source=str(world.sources / "good.raw"))
    fuzz = Fuzz(world.target, seed=SEED, state=world.declared, goods=goods)
    fuzz.run(COUNT, world.known())
    codes = {code.name: count for code, count in sorted(fuzz.codes.items(), key=lambda x: -x[1])}
    report(f"{COUNT} requests of seed {SEED}: {codes}, the slowest {fuzz.slowest_s:.2f} s")
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"} <= codes.keys()
    check_it_still_serves(world.target, source=str(world.sources / "good.raw"))
    assert [] == defects(world.target)


def test_random_requests_to_a_real_engine(
    open_site: OpenSite, sources: object, report: Callable[[str], None]
) -> None:
    """The file backend and tgtd behind it: what memory takes, they may choke on."""
    site = open_site()
    target = Target(site.engine.endpoint)
    source = f"{sources}/good.raw"
    goods = make_one_of_each(target, source=source)
    fuzz = Fuzz(target, seed=f"{SEED}-real", state=frozenset, goods=goods)
    fuzz.run(COUNT // 10, {"source": [source, f"{sources}/fifo", f"{sources}/loop"]})
    report(f"{COUNT // 10} requests to a real engine, the slowest {fuzz.slowest_s:.2f} s")
    check_it_still_serves(target, source=source)
    assert [] == defects(target)
    assert "Traceback" not in site.engine.log.read_text()
    target.close()


test_random_requests_to_a_real_engine = pytest.mark.tgt(test_random_requests_to_a_real_engine)


def check_it_still_serves(target: Target, *, source: str) -> None:
    """An image, a pool and an attachment of names that no request had."""
    user = pb.SystemUser(name="last", kind=pb.SYSTEM_USER_KIND_APPLICATION)
    image = pb.ImageSpec(
        name="last", system_user=user, writable=pb.PortionSpec(source=source, format="raw")
    )
    target.call("CreateImage", pb.CreateImageRequest(spec=image, request_token="last"))
    pool = pb.PoolSpec(name="last", master_image="last", min_ready=1)
    target.call("CreatePool", pb.CreatePoolRequest(spec=pool, request_token="last"))
    server = pb.ServerSpec(name="last", initiator="iqn.2026-01.test:last")
    wanted = pb.AttachmentSpec(name="last", pool="last", inline_server=server)
    request = pb.CreateAttachmentRequest(spec=wanted, request_token="last")
    wait_for(
        lambda: target.call("CreateAttachment", request).volume_id,
        what="an attachment after all that",
        timeout_s=60,
    )


def defects(target: Target) -> list[str]:
    """What the engine's own work says that is no error of a user's."""
    images = target.call("ListImages", pb.ListRequest()).images
    operations = target.call("ListOperations", pb.ListOperationsRequest()).operations
    errors = [image.latest.error for image in images] + [each.error for each in operations]
    return sorted({error for error in errors if _DEFECT.match(error)})


def test_every_rpc_is_sent_to(world: World) -> None:
    """Also those that come later: they are taken from the descriptor."""
    sent = set()

    class Recording(Target):
        def send(self, method, data):  # type: ignore[no-untyped-def]
            sent.add(method.name)
            return world.target.send(method, data)

    target = Recording("unix:///nowhere")
    goods = make_one_of_each(target, source=str(world.sources / "good.raw"))
    sent.clear()
    Fuzz(target, seed="each", state=frozenset, goods=goods).run(600, world.known())
    assert {method.name for method in SERVICE.methods} == sent
    target.close()
