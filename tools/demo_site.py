"""The demo's engine: what it holds, and how long that took, as measured on its side."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.store.high_water import FILE_NAME as HIGH_WATER
from clonepool.testing.engine_process import EngineProcess
from tools.demo_infrastructure import DemoFailed

Seen = TypeVar("Seen")
_WAIT_S = 30.0
_POLL_S = 0.02
_ATTACH_LINE = re.compile(r"CreateAttachment OK ([0-9.]+) ms")


class DemoSite:
    """Reads of the engine; nothing here changes anything."""

    def __init__(self, *, engine: EngineProcess, client: EngineClient) -> None:
        self.engine = engine
        self._client = client

    def info(self) -> pb.EngineInfo:
        """How much it holds."""
        return cast(pb.EngineInfo, self._call("GetEngineInfo", pb.GetEngineInfoRequest()))

    def pool(self, name: str) -> pb.ReplicaPool:
        """The pool, with its counts."""
        return cast(pb.ReplicaPool, self._call("GetPool", pb.GetRequest(name=name)))

    def volumes(self, pool: str, *, state: str = "") -> Sequence[pb.Volume]:
        """Its volumes."""
        found = self._call("ListVolumes", pb.ListVolumesRequest(pool=pool, state=state))
        return cast(pb.ListVolumesResponse, found).volumes

    def runs(self, pool: str) -> Sequence[pb.ScrubRun]:
        """Its scrub runs, newest first."""
        found = self._call("ListScrubRuns", pb.ListScrubRunsRequest(pool=pool))
        return cast(pb.ListScrubRunsResponse, found).runs

    def attachment(self, name: str) -> pb.Attachment:
        """An attachment with all that its server needs."""
        request = pb.GetAttachmentRequest(name=name, include_secret=True)
        return cast(pb.Attachment, self._call("GetAttachment", request))

    def import_s(self, image: str) -> float:
        """From the image's declaration to its last byte being stored."""
        made: pb.MasterImage = self._call("GetImage", pb.GetRequest(name=image))
        events = self._call("ListEvents", pb.ListEventsRequest(subject_prefix=f"image/{image}"))
        ended = [event.at for event in events.events if event.reason == "IMAGE_IMPORTED"]
        return _seconds(ended[0]) - _seconds(made.created_at)

    def fill_s(self, pool: str) -> float:
        """From the pool's declaration to its last replica being ready."""
        ready = self.volumes(pool, state="ready")
        last = max(_seconds(volume.changed_at) for volume in ready)
        return last - _seconds(self.pool(pool).created_at)

    def attach_ms(self) -> Sequence[float]:
        """How long the engine took for each attachment so far, by its log."""
        return [float(found) for found in _ATTACH_LINE.findall(self.engine.log.read_text())]

    def files(self) -> Sequence[Path]:
        """Every file of an image or a volume on the storage."""
        found = [path for path in self.engine.storage.rglob("*") if path.is_file()]
        return [path for path in found if path.name != HIGH_WATER]

    def _call(self, method: str, request: Any) -> Any:
        return self._client.call(method, request)


def scrub_s(run: pb.ScrubRun) -> float:
    """How long a run took."""
    return _seconds(run.finished_at) - _seconds(run.started_at)


def wait_for(look: Callable[[], Seen | None], *, what: str) -> Seen:
    """What is seen once it is true. Raises DemoFailed when it takes too long."""
    deadline = time.monotonic() + _WAIT_S
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {_WAIT_S:g} s for {what}, in vain")
        time.sleep(_POLL_S)
    return seen


def _seconds(at: Any) -> float:
    return float(at.seconds + at.nanos / 1e9)
