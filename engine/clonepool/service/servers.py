"""RPCs of the server inventory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.service import convert, specs, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.servers import Servers


class ServerHandlers:
    """Servers over the wire."""

    def __init__(self, *, servers: Servers) -> None:
        self._servers = servers

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "CreateServer": self.create,
            "GetServer": self.get,
            "ListServers": self.list,
            "UpdateServer": self.update,
            "DeleteServer": self.delete,
        }

    def create(self, request: pb.CreateServerRequest) -> pb.Server:
        """Declare a server."""
        validate.create_server(request)
        spec = specs.server(request.spec)
        return convert.server(self._servers.create(spec=spec, token=request.request_token))

    def get(self, request: pb.GetRequest) -> pb.Server:
        """One server."""
        validate.reference(request)
        return convert.server(self._servers.get(ref=specs.ref(request)))

    def list(self, request: pb.ListRequest) -> pb.ListServersResponse:
        """One page of servers."""
        validate.page(size=request.page_size)
        page = specs.page(
            size=request.page_size, token=request.page_token, name_prefix=request.name_prefix
        )
        found, next_token = self._servers.list(page=page)
        return pb.ListServersResponse(
            servers=[convert.server(server) for server in found], next_page_token=next_token
        )

    def update(self, request: pb.UpdateServerRequest) -> pb.Server:
        """Change a server."""
        validate.update_server(request)
        spec = specs.server(request.spec)
        server = self._servers.update(server_id=request.id, spec=spec, force=request.force)
        return convert.server(server)

    def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Forget a server."""
        validate.object_id(request.id)
        self._servers.delete(server_id=request.id)
        return pb.DeleteResponse()
