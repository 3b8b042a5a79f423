"""The composition root: settings in, a running engine out."""

from __future__ import annotations

from clonepool.config import Settings
from clonepool.controllers.attachments import Attachments
from clonepool.controllers.events import Events
from clonepool.controllers.images import Images
from clonepool.controllers.operations import Operations
from clonepool.controllers.pools import Pools
from clonepool.controllers.scrub import Scrub
from clonepool.controllers.servers import Servers
from clonepool.controllers.volumes import Volumes
from clonepool.domain.model import EngineFacts


class Engine:
    """Everything wired together; what the service layer serves."""

    images: Images
    pools: Pools
    servers: Servers
    attachments: Attachments
    volumes: Volumes
    scrub: Scrub
    operations: Operations
    events: Events

    @classmethod
    def open(cls, settings: Settings) -> Engine:
        """Open (and migrate) the state, connect drivers; starts nothing yet."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the background threads: first what a crash left, then the controllers."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop background work at the next safe point and close the state; exports stay."""
        raise NotImplementedError

    def info(self) -> EngineFacts:
        """What this engine is."""
        raise NotImplementedError
