"""RPCs of nodes: the engines that share one database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.nodes import Node
from clonepool.service import convert
from clonepool.service.dispatch import Handler
from clonepool.service.findings import Findings

if TYPE_CHECKING:
    from clonepool.controllers.nodes import Nodes

# as `node` in the settings
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


class NodeHandlers:
    """Nodes over the wire."""

    def __init__(self, *, nodes: Nodes) -> None:
        self._nodes = nodes

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "ListNodes": self.list,
            "GetNode": self.get,
            "DrainNode": self.drain,
            "UndrainNode": self.undrain,
            "ForgetNode": self.forget,
        }

    def list(self, _request: pb.ListNodesRequest) -> pb.ListNodesResponse:
        """Every node."""
        return pb.ListNodesResponse(nodes=[self._message(node) for node in self._nodes.list()])

    def get(self, request: pb.GetRequest) -> pb.Node:
        """One node."""
        _check_name(request.name)
        return self._message(self._nodes.get(name=request.name))

    def drain(self, request: pb.GetRequest) -> pb.Node:
        """Have a node begin nothing new."""
        return self._drain(request, draining=True)

    def undrain(self, request: pb.GetRequest) -> pb.Node:
        """The end of that."""
        return self._drain(request, draining=False)

    def _drain(self, request: pb.GetRequest, *, draining: bool) -> pb.Node:
        _check_name(request.name)
        return self._message(self._nodes.drain(name=request.name, draining=draining))

    def forget(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Take a silent node off the list."""
        _check_name(request.id, field="id")
        self._nodes.forget(name=request.id)
        return pb.DeleteResponse()

    def _message(self, node: Node) -> pb.Node:
        facts = node.facts
        return pb.Node(
            name=facts.name,
            version=facts.version,
            machine=facts.machine,
            listen=facts.listen,
            state="silent" if self._nodes.is_silent(node) else "live",
            draining=node.draining,
            started_at=convert.timestamp(node.started_at),
            heard_at=convert.timestamp(node.heard_at),
            storages=facts.storages,
            hostless=facts.hostless,
            fabrics=facts.fabrics,
            volumes=node.volumes,
            attachments=node.attachments,
            operations=node.operations,
        )


def _check_name(name: str, *, field: str = "name") -> None:
    findings = Findings()
    findings.require(_NAME.fullmatch(name), field, "must be 1 to 63 characters from a-z 0-9 . -")
    findings.refuse()
