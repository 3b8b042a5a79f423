"""Names and request tokens: what ties a resource of a program to its object in the engine."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import pulumi

from clonepool_resources.shared_fields import NAME_PATTERN

_LONGEST_NAME: Final = 63
_DIGEST_LENGTH: Final = 8


def derived_name(logical_name: str) -> str:
    """The engine's name for a resource that was given none: project, stack and logical name.

    Deterministic, so that a preview knows it. What a name may not hold becomes a dash; where
    that, or the length, would let two names meet, a digest of the whole is added.
    """
    whole = f"{pulumi.get_project()}-{pulumi.get_stack()}-{logical_name}"
    if re.fullmatch(NAME_PATTERN, whole):
        return whole
    fitting = re.sub(r"[^a-z0-9._-]", "-", whole.lower()).lstrip("._-")
    digest = hashlib.sha256(whole.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{fitting[: _LONGEST_NAME - _DIGEST_LENGTH - 1]}-{digest}".lstrip("-")


def request_token(
    *, type_name: str, logical_name: str, options: pulumi.ResourceOptions | None
) -> str:
    """What makes a repeated create find its own object: project/stack/type/logical name.

    The parent's type is in it, as it is in the URN: two components may each hold a pool "web".
    """
    parent = options.parent if options is not None else None
    kind = f"clonepool:{type_name}"
    if parent is not None:
        kind = f"{parent.pulumi_resource_type}${kind}"
    return f"{pulumi.get_project()}/{pulumi.get_stack()}/{kind}/{logical_name}"
