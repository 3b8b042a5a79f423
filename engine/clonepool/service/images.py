"""RPCs of master images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import MasterImage
from clonepool.domain.states import VersionState
from clonepool.errors import PermissionDenied
from clonepool.service import convert, image_rules, specs, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.images import Images


class ImageHandlers:
    """Images over the wire; ``paths_allowed`` says whether callers may import from paths."""

    def __init__(self, *, images: Images, paths_allowed: bool) -> None:
        self._images = images
        self._paths_allowed = paths_allowed

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "CreateImage": self.create,
            "GetImage": self.get,
            "ListImages": self.list,
            "UpdateImage": self.update,
            "DeleteImage": self.delete,
            "ListImageVersions": self.versions,
        }

    def create(self, request: pb.CreateImageRequest) -> pb.MasterImage:
        """Declare an image."""
        validate.create_image(request)
        self._check_sources(request.spec)
        spec = specs.image(request.spec)
        return self._message(self._images.create(spec=spec, token=request.request_token))

    def get(self, request: pb.GetRequest) -> pb.MasterImage:
        """One image, with its import's progress."""
        validate.reference(request)
        return self._message(self._images.get(ref=specs.ref(request)))

    def list(self, request: pb.ListRequest) -> pb.ListImagesResponse:
        """One page of images."""
        validate.page(size=request.page_size)
        page = specs.page(
            size=request.page_size, token=request.page_token, name_prefix=request.name_prefix
        )
        found, next_token = self._images.list(page=page)
        return pb.ListImagesResponse(
            images=[self._message(image) for image in found], next_page_token=next_token
        )

    def update(self, request: pb.UpdateImageRequest) -> pb.MasterImage:
        """Change an image."""
        validate.update_image(request)
        self._check_sources(request.spec)
        image = self._images.update(image_id=request.id, spec=specs.image(request.spec))
        return self._message(image)

    def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Delete an image."""
        validate.object_id(request.id)
        self._images.delete(image_id=request.id)
        return pb.DeleteResponse()

    def versions(self, request: pb.ListImageVersionsRequest) -> pb.ListImageVersionsResponse:
        """Each live version of an image."""
        validate.object_id(request.image_id, field="image_id")
        return pb.ListImageVersionsResponse(versions=self._versions(request.image_id))

    def _versions(self, image_id: str) -> Iterator[pb.ImageVersion]:
        for version, work, volumes in self._images.versions(image_id=image_id):
            yield convert.image_version(version, work=work, volumes=volumes)

    def _message(self, image: MasterImage) -> pb.MasterImage:
        # only a version that is on its way has progress to look up
        if image.latest.state is not VersionState.IMPORTING:
            return convert.image(image)
        versions = {version.id: version for version in self._versions(image.id)}
        return convert.image(image, latest=versions.get(image.latest.id))

    def _check_sources(self, spec: pb.ImageSpec) -> None:
        if self._paths_allowed:
            return
        paths = [source for source in _sources(spec) if not image_rules.is_url(source)]
        if paths:
            raise PermissionDenied(
                f"this engine imports nothing from paths over TCP ({paths[0]}); set import_roots "
                "in its settings, or give an http(s) URL",
                reason="NO_IMPORT_ROOTS",
            )


def _sources(spec: pb.ImageSpec) -> Iterator[str]:
    if spec.HasField("read_only"):
        yield spec.read_only.source
    if spec.HasField("writable"):
        yield spec.writable.source
    for item in spec.preconfigure:
        if item.WhichOneof("data") == "source":
            yield item.source
