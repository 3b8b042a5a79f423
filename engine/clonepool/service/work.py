"""RPCs of what the engine does by itself: volumes, scrub runs and records, operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.states import AfterScrub
from clonepool.service import convert, specs, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.operations import Operations
    from clonepool.controllers.scrub import Scrub
    from clonepool.controllers.volumes import Volumes


class VolumeHandlers:
    """Volumes over the wire."""

    def __init__(self, *, volumes: Volumes, scrub: Scrub) -> None:
        self._volumes = volumes
        self._scrub = scrub

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "GetVolume": self.get,
            "ListVolumes": self.list,
            "RetryVolume": self.retry,
            "DestroyVolume": self.destroy,
        }

    def retry(self, request: pb.GetRequest) -> pb.ScrubRun:
        """Scrub a faulty volume once more."""
        return self._scrub_one(request, AfterScrub.RECYCLE)

    def destroy(self, request: pb.GetRequest) -> pb.ScrubRun:
        """Erase a faulty volume, and destroy it."""
        return self._scrub_one(request, AfterScrub.DESTROY)

    def _scrub_one(self, request: pb.GetRequest, after: AfterScrub) -> pb.ScrubRun:
        validate.object_id(request.id)
        run = self._scrub.start_one(volume_id=request.id, after=after)
        return convert.scrub_run(run) if run else pb.ScrubRun()

    def get(self, request: pb.GetRequest) -> pb.Volume:
        """One volume."""
        validate.object_id(request.id)
        return convert.volume(self._volumes.get(ref=specs.ref(request)))

    def list(self, request: pb.ListVolumesRequest) -> pb.ListVolumesResponse:
        """One page of volumes."""
        validate.volume_list(request)
        found, next_token = self._volumes.list(
            page=specs.page(size=request.page_size, token=request.page_token),
            pool=request.pool,
            state=request.state,
        )
        return pb.ListVolumesResponse(
            volumes=[convert.volume(volume) for volume in found], next_page_token=next_token
        )


class ScrubHandlers:
    """Scrub runs and records over the wire."""

    def __init__(self, *, scrub: Scrub) -> None:
        self._scrub = scrub

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "StartScrub": self.start,
            "GetScrubRun": self.get_run,
            "ListScrubRuns": self.list_runs,
            "ListScrubRecords": self.list_records,
        }

    def start(self, request: pb.StartScrubRequest) -> pb.ScrubRun:
        """Scrub now; an empty message when nothing is released."""
        validate.pool_name(request.pool)
        run = self._scrub.start(pool=request.pool)
        return convert.scrub_run(run) if run else pb.ScrubRun()

    def get_run(self, request: pb.GetRequest) -> pb.ScrubRun:
        """One run."""
        validate.object_id(request.id)
        return convert.scrub_run(self._scrub.get_run(ref=specs.ref(request)))

    def list_runs(self, request: pb.ListScrubRunsRequest) -> pb.ListScrubRunsResponse:
        """One page of runs."""
        validate.page(size=request.page_size)
        page = specs.page(size=request.page_size, token=request.page_token)
        found, next_token = self._scrub.list_runs(page=page, pool=request.pool)
        return pb.ListScrubRunsResponse(
            runs=[convert.scrub_run(run) for run in found], next_page_token=next_token
        )

    def list_records(self, request: pb.ListScrubRecordsRequest) -> pb.ListScrubRecordsResponse:
        """One page of records."""
        validate.page(size=request.page_size)
        found, next_token = self._scrub.list_records(
            page=specs.page(size=request.page_size, token=request.page_token),
            pool=request.pool,
            volume_id=request.volume_id,
        )
        return pb.ListScrubRecordsResponse(
            records=[convert.scrub_record(record) for record in found], next_page_token=next_token
        )


class OperationHandlers:
    """Background work over the wire."""

    def __init__(self, *, operations: Operations) -> None:
        self._operations = operations

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "GetOperation": self.get,
            "ListOperations": self.list,
            "CancelOperation": self.cancel,
        }

    def get(self, request: pb.GetRequest) -> pb.Operation:
        """One operation."""
        validate.object_id(request.id)
        return convert.operation(self._operations.get(ref=specs.ref(request)))

    def list(self, request: pb.ListOperationsRequest) -> pb.ListOperationsResponse:
        """One page of operations."""
        validate.page(size=request.page_size)
        page = specs.page(size=request.page_size, token=request.page_token)
        found, next_token = self._operations.list(page=page, open_only=request.open_only)
        return pb.ListOperationsResponse(
            operations=[convert.operation(work) for work in found], next_page_token=next_token
        )

    def cancel(self, request: pb.GetRequest) -> pb.Operation:
        """Ask an operation to stop."""
        validate.object_id(request.id)
        return convert.operation(self._operations.cancel(ref=specs.ref(request)))
