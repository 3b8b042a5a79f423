"""The gRPC server: listening, the handlers, health, reflection, and the drain at the end."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from clonepool.api.endpoint import Endpoint, parse_endpoint
from clonepool.api.line import MESSAGE_LIMIT_BYTES
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.api.v1 import engine_pb2_grpc
from clonepool.config import Settings
from clonepool.errors import Unavailable
from clonepool.service import auth, convert, sockets
from clonepool.service.attachments import AttachmentHandlers
from clonepool.service.dispatch import Dispatcher, Gate, Handler
from clonepool.service.events import EventHandlers
from clonepool.service.forecasts import ForecastHandlers
from clonepool.service.holds import HoldHandlers
from clonepool.service.images import ImageHandlers
from clonepool.service.malformed import ForgivingServer
from clonepool.service.nodes import NodeHandlers
from clonepool.service.orphans import OrphanHandlers
from clonepool.service.pools import PoolHandlers
from clonepool.service.servers import ServerHandlers
from clonepool.service.work import OperationHandlers, ScrubHandlers, VolumeHandlers

if TYPE_CHECKING:
    from clonepool.engine import Engine

SERVICE: Final = "clonepool.v1.Engine"
# Group commit lives from callers that stand side by side: it was measured up to 64 of them.
_CALL_THREADS: Final = 64
_WATCHERS_LIMIT: Final = 16
_REFLECTION_THREADS: Final = 4
_QUEUE_LIMIT: Final = 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    # two engines on one port would share its callers
    ("grpc.so_reuseport", 0),
    # callers that have another node to go to look every few seconds whether this one lives
    ("grpc.http2.min_ping_interval_without_data_ms", 2000),
)


class EngineServer:
    """Serves one engine on its settings' ``listen``.

    Health is NOT_SERVING, and calls answer UNAVAILABLE with a retry hint, until ``start`` has
    brought the engine up, and again from ``drain`` on. Does not open or close the engine.
    """

    def __init__(
        self, engine: Engine, settings: Settings, *, watchers_limit: int = _WATCHERS_LIMIT
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._listen = parse_endpoint(settings.listen, field_name="listen")
        self._gate = Gate()
        self._health = health.HealthServicer()
        threads = _CALL_THREADS + _REFLECTION_THREADS + watchers_limit
        self._grpc = grpc.server(
            ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rpc"),
            options=_OPTIONS,
            maximum_concurrent_rpcs=_QUEUE_LIMIT,
        )
        self._inode = 0
        self._stopped = threading.Event()
        self.endpoint = self._listen
        self._register(watchers_limit=watchers_limit)

    def start(self) -> None:
        """Listen, start the engine's background work, then let calls through.

        Raises FailedPrecondition when an engine answers there already, InvalidArgument for TLS
        settings that can't be used, PermissionDenied, and what ``Engine.start`` raises.
        """
        self._bind()
        self._set_health(serving=False)
        self._grpc.start()
        try:
            self._engine.start()
        except BaseException:
            self.drain(grace_s=0)
            raise
        self._gate.open()
        self._set_health(serving=True)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the server has stopped; False when ``timeout_s`` is over first."""
        return self._stopped.wait(timeout_s)

    def drain(self, *, grace_s: float) -> None:
        """Refuse new calls, let those in flight end for up to ``grace_s`` seconds, stop."""
        self._gate.drain()
        self._health.enter_graceful_shutdown()
        self._grpc.stop(grace_s).wait()
        if self._listen.path is not None:
            sockets.remove_socket(self._listen.path, inode=self._inode)
        self._stopped.set()

    def _bind(self) -> None:
        path = self._listen.path
        if path is None:
            self._bind_tcp()
            return
        sockets.prepare_socket(path)
        with sockets.private_files():
            self._add_port(lambda: self._grpc.add_insecure_port(self._listen.target))
        self._inode = path.lstat().st_ino

    def _bind_tcp(self) -> None:
        credentials = auth.server_credentials(self._settings)
        port = self._add_port(lambda: self._grpc.add_secure_port(self._listen.target, credentials))
        self.endpoint = Endpoint(host=self._listen.host, port=port)

    def _add_port(self, add: Any) -> int:
        try:
            port: int = add()
        except RuntimeError:
            port = 0
        if port == 0:
            raise Unavailable(
                f"can't listen on {self._listen}; is the address this machine's, and free?",
                reason="CANNOT_LISTEN",
            )
        return port

    def _set_health(self, *, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if serving else states.NOT_SERVING
        for service in ("", SERVICE):
            self._health.set(service, state)

    def _register(self, *, watchers_limit: int) -> None:
        authenticate = auth.authenticator(self._settings) if self._listen.path is None else None
        dispatcher = Dispatcher(gate=self._gate, authenticate=authenticate)
        events = EventHandlers(
            events=self._engine.events,
            audit=self._engine.audit,
            watchers_limit=watchers_limit,
            draining=self._gate.draining,
        )
        servicer = SimpleNamespace(
            WatchEvents=dispatcher.stream(method="WatchEvents", handler=events.watch),
            ExportAudit=dispatcher.stream(method="ExportAudit", handler=events.export),
        )
        for method, handler in {**self._handlers(), **events.methods()}.items():
            setattr(servicer, method, dispatcher.unary(method=method, handler=handler))
        # typed as if only gRPC's own classes could do
        add_engine: Any = engine_pb2_grpc.add_EngineServicer_to_server
        add_engine(servicer, ForgivingServer(self._grpc))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        self._register_reflection(dispatcher)

    def _register_reflection(self, dispatcher: Dispatcher) -> None:
        """Reflection behind the same door: each of its streams holds a thread."""
        servicer = reflection.ReflectionServicer((SERVICE, reflection.SERVICE_NAME))
        guarded = SimpleNamespace(
            ServerReflectionInfo=dispatcher.stream(
                method="ServerReflectionInfo", handler=servicer.ServerReflectionInfo
            )
        )
        # the package ships no types
        add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        add(guarded, self._grpc)

    def _handlers(self) -> Mapping[str, Handler]:
        engine = self._engine
        local = self._listen.path is not None
        return {
            "GetEngineInfo": self._engine_info,
            **ImageHandlers(
                images=engine.images,
                paths_allowed=local or bool(self._settings.import_roots),
            ).methods(),
            **PoolHandlers(pools=engine.pools, images=engine.images).methods(),
            **ServerHandlers(servers=engine.servers).methods(),
            **AttachmentHandlers(attachments=engine.attachments).methods(),
            **VolumeHandlers(volumes=engine.volumes, scrub=engine.scrub).methods(),
            **ScrubHandlers(scrub=engine.scrub).methods(),
            **OperationHandlers(operations=engine.operations).methods(),
            **NodeHandlers(nodes=engine.nodes).methods(),
            **OrphanHandlers(orphans=engine.orphans).methods(),
            **ForecastHandlers(forecasts=engine.forecasts).methods(),
            **HoldHandlers(holds=engine.holds).methods(),
        }

    def _engine_info(self, _request: pb.GetEngineInfoRequest) -> pb.EngineInfo:
        return convert.engine_info(self._engine.info())
