"""A dynamic resource that does nothing: what Pulumi itself costs. Its programs import it."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi.dynamic


class NoopProvider(pulumi.dynamic.ResourceProvider):
    """Answers everything at once. A class of a module is kept in the state by reference."""

    # as ours: it holds no secret, and an encrypted one for each resource would raise the floor
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> pulumi.dynamic.CreateResult:
        """Make nothing."""
        return pulumi.dynamic.CreateResult("noop", props)


class Noop(pulumi.dynamic.Resource):
    """Nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(NoopProvider(), name, {})
