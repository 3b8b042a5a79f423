"""Doctor's look at each of several endpoints: whether it answers, and for the same engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clonepool.api.client import EngineClient
from clonepool.api.endpoint import client_environment, parse_endpoints
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli.checks import Check, broken, good, lacking
from clonepool.errors import ClonepoolError

_TIMEOUT_S: Final = 5.0
_OTHER_ENGINE: Final = (
    "leave it out: what is not there at another engine looks deleted to Pulumi and Terraform"
)


def check_nodes() -> Iterator[Check]:
    """Ask every endpoint by itself, where there are several; commands ask the first that works."""
    try:
        places = parse_endpoints(client_environment().endpoint or "unix:///")
    except ClonepoolError:
        # check_engine says so
        return
    engine_id = ""
    for place in places if len(places) > 1 else ():
        name = f"node at {place}"
        try:
            with EngineClient.connect(endpoint=str(place), connect_wait_s=0) as client:
                request = pb.GetEngineInfoRequest()
                info = client.call("GetEngineInfo", request, timeout_s=_TIMEOUT_S)
        except ClonepoolError as error:
            yield lacking(name, str(error), "start it, or take it out of CLONEPOOL_ENDPOINT")
            continue
        engine_id = engine_id or info.engine_id
        if info.engine_id != engine_id:
            detail = f"it is of engine {info.engine_id}, those before it are of {engine_id}"
            yield broken(name, detail, _OTHER_ENGINE)
            continue
        yield good(name, f"version {info.version} answers, node {info.node}")
