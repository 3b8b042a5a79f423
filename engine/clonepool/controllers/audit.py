"""The audit as a file: the chain's entries, who has what now, and what holds them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from clonepool.controllers.context import Context
from clonepool.domain import audit
from clonepool.domain.audit_check import canonical_line
from clonepool.domain.content import canonical
from clonepool.store import audit as chain


class Audit:
    """The one use case."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def export(self, *, since: float = 0) -> Iterator[str]:
        """Lines of JSON, all of one moment; ``since`` (POSIX) leaves out the entries before it."""
        digest, holdings = hashlib.sha256(), 0
        for document in self._documents(since):
            digest.update(canonical_line(document))
            holdings += document["kind"] == "holding"
            yield canonical(document)
        yield canonical({"kind": "end", "holdings": holdings, "digest": digest.hexdigest()})

    def _documents(self, since: float) -> Iterator[dict[str, Any]]:
        with self._context.state.read() as session:
            engine_id = self._context.state.engine_id
            part = chain.stretch(session, since=since, engine_id=engine_id)
            yield {
                "kind": "header",
                "format": audit.FORMAT,
                "engine": engine_id,
                "exported_at": audit.when(self._context.now()),
                "first": part.first,
                "count": part.count,
                "previous": part.previous,
                "head": part.head,
            }
            for body, link in chain.bodies(session, part=part):
                yield {**json.loads(body), "hash": link}
            for holding in chain.holdings(session):
                at = audit.when(holding["allocated_at"])
                yield {"kind": "holding", **holding, "allocated_at": at}
