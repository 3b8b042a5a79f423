"""Master images and the pools of their replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from clonepool_resources.image_fields import MASTER_IMAGE
from clonepool_resources.pool_fields import REPLICA_POOL
from pulumi_clonepool.args import (
    CloneMode,
    ImagePortionArgs,
    PreconfiguredFileArgs,
    RolloutArgs,
    ScrubPolicyArgs,
    SystemUserArgs,
    WhenEmpty,
)
from pulumi_clonepool.outputs import PortionDigests, PortionSizes
from pulumi_clonepool.providers import MasterImageProvider, ReplicaPoolProvider
from pulumi_clonepool.resource import ClonepoolResource, name_of


class MasterImage(ClonepoolResource, module="clonepool", name="MasterImage"):
    """A golden image in the engine's storage, whose replicas servers get.

    It has a read-only portion that all servers share, a writable portion that is cloned for each
    of them, or both. Changed content makes a new version in place; servers that are attached keep
    the version they have. Creation waits until the import is done.

    - ``name``: left out, it is made from the project, the stack and the resource's name. A change
      replaces the image.
    - ``system_user``: whose image it is; left out, it is shared, and each attachment names its
      own. A change replaces the image.
    - ``read_only``, ``writable``: where the content comes from, at least one of them.
    - ``preconfigure``: files written into the portions at import (ext2, ext3 and ext4).
    - ``storage``: the engine's storage, ``default`` by default. A change replaces the image.
    - ``labels``: free words, changed in place.
    """

    declaration = MASTER_IMAGE

    system_user: pulumi.Output[dict[str, Any] | None]
    read_only: pulumi.Output[dict[str, Any] | None]
    writable: pulumi.Output[dict[str, Any] | None]
    storage: pulumi.Output[str]
    version: pulumi.Output[int]
    """The number of the current version, from 1."""
    digests: pulumi.Output[PortionDigests]
    """The content digest of each imported portion."""
    size_bytes: pulumi.Output[PortionSizes]
    """The size of each imported portion in bytes."""

    def __init__(
        self,
        resource_name: str,
        *,
        name: pulumi.Input[str] | None = None,
        system_user: pulumi.Input[SystemUserArgs] | None = None,
        read_only: pulumi.Input[ImagePortionArgs] | None = None,
        writable: pulumi.Input[ImagePortionArgs] | None = None,
        preconfigure: pulumi.Input[Sequence[pulumi.Input[PreconfiguredFileArgs]]] | None = None,
        storage: pulumi.Input[str] | None = None,
        labels: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        given = {
            "name": name,
            "system_user": system_user,
            "read_only": read_only,
            "writable": writable,
            "preconfigure": preconfigure,
            "storage": storage,
            "labels": labels,
        }
        self._declare(
            provider=MasterImageProvider(), resource_name=resource_name, given=given, opts=opts
        )


class ReplicaPool(ClonepoolResource, module="clonepool", name="ReplicaPool"):
    """A stock of replicas of one master image, cloned ahead of time.

    Creation waits until ``wait_for_ready`` replicas are ready. What moves by itself, such as how
    many are ready now, comes from ``get_pool``.

    - ``master_image``: the image or its name. A change replaces the pool.
    - ``image_version``: the version to stay at; left out, it follows the current one.
    - ``fabric``: ``iscsi`` (default) or ``local``. A change replaces the pool.
    - ``min_ready`` (1) replicas are kept in stock, ``max_replicas`` (100) is the most there may
      be, attached ones included.
    - ``clone_mode``: ``auto`` (default), ``thin`` or ``full``.
    - ``when_empty``: an attachment that finds no ready replica ``wait``s (default) or ``fail``s.
    - ``rollout``: how ready replicas of an old image version are replaced.
    - ``scrub``: when and how released volumes are erased.
    """

    declaration = REPLICA_POOL

    master_image: pulumi.Output[str]
    image_version: pulumi.Output[int | None]
    fabric: pulumi.Output[str]
    min_ready: pulumi.Output[int]
    max_replicas: pulumi.Output[int]
    clone_mode: pulumi.Output[str]
    when_empty: pulumi.Output[str]
    wait_for_ready: pulumi.Output[int]
    rollout: pulumi.Output[dict[str, Any]]
    scrub: pulumi.Output[dict[str, Any]]

    def __init__(  # noqa: PLR0913 - one for each field of the declaration
        self,
        resource_name: str,
        *,
        master_image: pulumi.Input[str] | MasterImage,
        name: pulumi.Input[str] | None = None,
        image_version: pulumi.Input[int] | None = None,
        fabric: pulumi.Input[str] | None = None,
        min_ready: pulumi.Input[int] | None = None,
        max_replicas: pulumi.Input[int] | None = None,
        clone_mode: pulumi.Input[CloneMode] | None = None,
        when_empty: pulumi.Input[WhenEmpty] | None = None,
        wait_for_ready: pulumi.Input[int] | None = None,
        rollout: pulumi.Input[RolloutArgs] | None = None,
        scrub: pulumi.Input[ScrubPolicyArgs] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        given = {
            "name": name,
            "master_image": name_of(master_image),
            "image_version": image_version,
            "fabric": fabric,
            "min_ready": min_ready,
            "max_replicas": max_replicas,
            "clone_mode": clone_mode,
            "when_empty": when_empty,
            "wait_for_ready": wait_for_ready,
            "rollout": rollout,
            "scrub": scrub,
        }
        self._declare(
            provider=ReplicaPoolProvider(), resource_name=resource_name, given=given, opts=opts
        )
