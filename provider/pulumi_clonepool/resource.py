"""What the four resource classes have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pulumi
import pulumi.dynamic

from clonepool_resources.types import Field, Resource
from pulumi_clonepool.identity import derived_name, request_token
from pulumi_clonepool.previews import remark_on
from pulumi_clonepool.providers import REQUEST_TOKEN, ClonepoolProvider


class ClonepoolResource(pulumi.dynamic.Resource):
    """A resource whose properties are the declaration's fields."""

    declaration: ClassVar[Resource]

    name: pulumi.Output[str]
    """Its name in the engine, known in a preview."""

    def _declare(
        self,
        *,
        provider: ClonepoolProvider,
        resource_name: str,
        given: Mapping[str, Any],
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        """Register it with Pulumi; a name that was left out is made up."""
        props: dict[str, Any] = {field.name: None for field in self.declaration.outputs}
        props.update(given)
        if given["name"] is None:
            props["name"] = derived_name(resource_name)
        props[REQUEST_TOKEN] = request_token(
            type_name=self.declaration.name, logical_name=resource_name, options=opts
        )
        super().__init__(provider, resource_name, props, _options(self.declaration, opts))
        remark_on(self)


def name_of(
    reference: pulumi.Input[str] | ClonepoolResource | None,
) -> pulumi.Input[str] | None:
    """A name as given, or the name of a resource: known in a preview, unlike its outputs."""
    return reference.name if isinstance(reference, ClonepoolResource) else reference


def _options(declaration: Resource, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    """The user's options, and ours on top of them.

    Names are unique in the engine and a create finds its own live object by token. So one that
    came before the delete would be handed the old object, which the delete would then destroy;
    ``--replace`` never asks the provider's diff, only this option prevents it.
    """
    ours = pulumi.ResourceOptions(
        delete_before_replace=True,
        additional_secret_outputs=_secrets(declaration.outputs),
    )
    return pulumi.ResourceOptions.merge(opts, ours)


def _secrets(fields: Iterable[Field]) -> list[str]:
    return [field.name for field in fields if field.secret]
