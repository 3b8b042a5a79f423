"""Names for what a program left unnamed: Pulumi's proposal, made to fit the engine's rule."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from clonepool_resources.shared_fields import NAME_PATTERN

if TYPE_CHECKING:
    from pulumi_clonepool_plugin.protocol import provider_pb2

_LONGEST_NAME: Final = 63
_SUFFIX_LENGTH: Final = 7


def autoname(request: provider_pb2.CheckRequest, *, kept: str) -> str:
    """The name of a resource that was given none; "" where the stack wants none to be made.

    ``kept`` is the name that it has already, if any: a resource never changes its name by itself.
    A name that the stack's configuration makes is taken as it is, so that check can refuse it.
    """
    wishes = request.autonaming
    if kept:
        return kept
    if wishes.mode == wishes.DISABLE and request.HasField("autonaming"):
        return ""
    if wishes.mode == wishes.ENFORCE and request.HasField("autonaming"):
        return str(wishes.proposed_name)
    return fitting(wishes.proposed_name or _proposal(request))


def fitting(proposed: str) -> str:
    """The proposal itself where the engine takes it; else one in its letters and its length."""
    if re.fullmatch(NAME_PATTERN, proposed):
        return proposed
    letters = re.sub(r"[^a-z0-9._-]", "-", proposed.lower()).strip("._-")
    # cut in front of the end, where Pulumi puts the random part
    return letters[-_LONGEST_NAME:].strip("._-") or _digest(proposed)


def _proposal(request: provider_pb2.CheckRequest) -> str:
    """As Pulumi would have proposed: an engine that is older than that sends only a seed."""
    logical = request.name or request.urn.rsplit("::", 1)[-1]
    return f"{logical}-{hashlib.sha256(request.randomSeed).hexdigest()[:_SUFFIX_LENGTH]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_SUFFIX_LENGTH]
