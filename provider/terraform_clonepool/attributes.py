"""The declaration as Terraform shows it: the same fields, and the few that it needs besides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from clonepool_resources.declaration import (
    GET_ATTACHMENT,
    GET_IMAGE,
    GET_POOL,
    resource,
)
from clonepool_resources.types import (
    Field,
    FieldType,
    Function,
    Kind,
    ListOf,
    ObjectType,
    Resource,
)

TROUBLE: Final = "trouble"
_LONG: Final = "30m"


@dataclass(frozen=True, kw_only=True)
class Managed:
    """A resource type: the declaration, and what Terraform is shown of it.

    ``lifecycle`` is where its life is written, ``module:Class``; a plan's validation needs none.
    """

    type_name: str
    declared: Resource
    shown: Resource
    lifecycle: str
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """A data source, or an ephemeral resource: what is there now, by id or by name."""

    type_name: str
    description: str
    fields: tuple[Field, ...]


ID: Final = Field(
    name="id",
    type=Kind.STRING,
    description="The id of this incarnation (UUID).",
    computed=True,
    stable=True,
)
SERVER_NAME: Final = Field(
    name="server_name",
    type=Kind.STRING,
    description="The server's name, in whichever of the three ways it was given.",
    computed=True,
    stable=True,
)
TROUBLE_FIELD: Final = Field(
    name=TROUBLE,
    type=Kind.STRING,
    description=(
        "Why the next apply updates it although nothing was changed: an import that failed, a "
        "filling that stopped. Empty while all is well."
    ),
    computed=True,
)
LONG_TIMEOUTS: Final = Field(
    name="timeouts",
    type=ObjectType(
        name="Timeouts",
        description="How long each operation may take.",
        fields=tuple(
            Field(
                name=verb, type=Kind.DURATION, description=f"{text}, such as `2h`.", default=_LONG
            )
            for verb, text in {
                "create": "How long a creation may take",
                "update": "How long a change may take",
            }.items()
        ),
    ),
    description="How long each operation may take.",
    local=True,
)
_BESIDES: Final = {
    "MasterImage": (TROUBLE_FIELD, LONG_TIMEOUTS),
    "ReplicaPool": (TROUBLE_FIELD, LONG_TIMEOUTS),
}


def _shown(declared: Resource) -> Resource:
    fields = (ID, *_shown_fields(declared.fields), *_BESIDES.get(declared.name, ()))
    text = declared.description.replace("`get_pool`", "the data source `clonepool_pool`")
    return replace(declared, fields=fields, description=text)


def _shown_fields(fields: Iterable[Field]) -> Iterator[Field]:
    for field in fields:
        if field.ephemeral:
            continue  # a secret in the state is what the ephemeral resource is for
        yield from _split(replace(field, type=_shown_type(field.type)))


def _split(field: Field) -> Iterator[Field]:
    if field.computed and field.optional_input:
        # set by the engine where the user does not, it would stand in a generated configuration
        # beside the input that it excludes
        text = field.description.partition(";")[0] + "."
        yield replace(field, computed=False, optional_input=False, stable=False, description=text)
        yield SERVER_NAME
        return
    yield field
    if field.write_only:
        yield _version_of(field)


def _version_of(field: Field) -> Field:
    """Terraform keeps nothing of a write-only value, so another one is told by its version."""
    return Field(
        name=f"{field.name}_version",
        type=Kind.INT,
        description=f"Raise it when `{field.name}` changes: what is write-only is not compared.",
        local=True,
        minimum=0,
    )


def _shown_type(type_: FieldType) -> FieldType:
    if isinstance(type_, ObjectType):
        return replace(type_, fields=tuple(_shown_fields(type_.fields)))
    if isinstance(type_, ListOf):
        return replace(type_, item=_shown_type(type_.item))
    return type_


def _managed(type_name: str, declared_name: str, lifecycle: str) -> Managed:
    declared = resource(declared_name)
    return Managed(
        type_name=type_name, declared=declared, shown=_shown(declared), lifecycle=lifecycle
    )


def _by_id_or_name(type_name: str, function: Function) -> Lookup:
    names = {"id", "name"}
    (name,) = function.inputs
    keys = tuple(
        Field(
            name=key,
            type=Kind.STRING,
            description=f"{text} Exactly one of `id` and `name` is given.",
            computed=True,
            optional_input=True,
        )
        for key, text in {
            "id": "Its id; the way to look up what the same configuration makes.",
            "name": name.description,
        }.items()
    )
    rest = tuple(field for field in function.outputs if field.name not in names)
    return Lookup(type_name=type_name, description=function.description, fields=(*keys, *rest))


_STORAGE: Final = "clonepool_resources.storage_lifecycle"
_SERVERS: Final = "clonepool_resources.server_lifecycle"
RESOURCES: Final = (
    _managed("clonepool_master_image", "MasterImage", f"{_STORAGE}:ImageLifecycle"),
    _managed("clonepool_replica_pool", "ReplicaPool", f"{_STORAGE}:PoolLifecycle"),
    _managed("clonepool_server", "Server", f"{_SERVERS}:ServerLifecycle"),
    _managed(
        "clonepool_server_storage_attachment",
        "ServerStorageAttachment",
        f"{_SERVERS}:AttachmentLifecycle",
    ),
)
DATA_SOURCES: Final = (
    _by_id_or_name("clonepool_pool", GET_POOL),
    _by_id_or_name("clonepool_image", GET_IMAGE),
    _by_id_or_name("clonepool_attachment", GET_ATTACHMENT),
)

CHAP_SECRET: Final = Lookup(
    type_name="clonepool_chap_secret",
    description=(
        "The CHAP account that an attachment's server logs in with. It is ephemeral: Terraform "
        "keeps it in no state and no plan."
    ),
    fields=(
        *_by_id_or_name("", GET_ATTACHMENT).fields[:2],
        Field(
            name="username",
            type=Kind.STRING,
            description="The account's name; empty where there is no CHAP.",
            computed=True,
        ),
        Field(
            name="secret",
            type=Kind.STRING,
            description="The account's secret; empty where there is no CHAP.",
            computed=True,
            secret=True,
        ),
    ),
)


def _setting(name: str, description: str, *, secret: bool = False) -> Field:
    return Field(name=name, type=Kind.STRING, description=description, secret=secret)


PROVIDER: Final = (
    _setting(
        "endpoint",
        "Where the engine listens: `unix:///path/engine.sock` or `tcp://host:port`; several nodes "
        "of one engine are separated by commas, and one that is away is passed over. Left out, it "
        "is `CLONEPOOL_ENDPOINT`, else this machine's own engine.",
    ),
    _setting(
        "token", "The token that a call over TCP brings, else `CLONEPOOL_TOKEN`.", secret=True
    ),
    _setting(
        "ca_file",
        "A file of CA certificates that the engine's certificate is checked by, else "
        "`CLONEPOOL_CA_FILE`.",
    ),
    _setting(
        "client_cert_file",
        "A client certificate's file, else `CLONEPOOL_CLIENT_CERT`; with its key.",
    ),
    _setting("client_key_file", "Its key's file, else `CLONEPOOL_CLIENT_KEY`."),
    _setting(
        "hold",
        "A ticket of `clonepool hold create` that attachments are served by, else "
        "`CLONEPOOL_HOLD`. One that is no use is no error.",
    ),
)
