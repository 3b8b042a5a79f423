"""One resource of a plan, whichever tool made it, as the engine is asked about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli.plan_order import nearest
from clonepool.units import parse_duration, parse_size


class Unknown:
    """Stands for a value that is known only after the apply."""


UNKNOWN: Final = Unknown()
_USER_KINDS: Final = {
    "customer": pb.SYSTEM_USER_KIND_CUSTOMER,
    "application": pb.SYSTEM_USER_KIND_APPLICATION,
}
_CONTENT: Final = ("read_only", "writable", "preconfigure")


class Action(StrEnum):
    """What a plan does with a resource."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    DELETE_THEN_CREATE = "delete, then create"
    CREATE_THEN_DELETE = "create, then delete"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A resource in a plan; ``kind`` as in the declaration, properties in snake_case."""

    kind: str
    action: Action
    label: str
    key: str = ""  # of what depends on it
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Reading:
    """A plan as the engine is asked about it, and what of it could not be known."""

    changes: list[pb.PlannedChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, planned: Planned) -> None:
        """Take one resource in."""
        removed = str(planned.before.get("name") or "")
        if planned.action in (Action.DELETE, *_REPLACEMENTS) and removed:
            first = planned.action is Action.DELETE_THEN_CREATE
            field_name = _REMOVE[planned.kind]
            change = pb.PlannedChange(label=planned.label, first=first)
            setattr(change, field_name, removed)
            self.changes.append(change)
        if planned.action is Action.DELETE:
            return
        made = self._made(planned)
        if made is not None:
            made.label = planned.label
            made.create = planned.action is not Action.UPDATE
            made.key = planned.key
            self.changes.append(made)

    def put_in_order(self, before: Mapping[str, Collection[str]]) -> None:
        """Note for each change which others come before it, by what the tool says of resources."""
        keys = {change.key for change in self.changes if change.key}
        for change in self.changes:
            if change.key:
                change.after.extend(sorted(nearest(change.key, before, keys)))

    def _made(self, planned: Planned) -> pb.PlannedChange | None:
        unknown = sorted(_unknown_paths(planned.after))
        if unknown:
            paths = ", ".join(unknown)
            self.notes.append(f"{planned.label}: known only after the apply: {paths}")
        if planned.kind == "ServerStorageAttachment":
            # an update of one grants the same volume anew: nothing of it touches the stock
            return None if planned.action is Action.UPDATE else _attach(planned.after, unknown)
        values = _filled(planned)
        if planned.kind == "Server":
            return pb.PlannedChange(put_server=_server(values))
        name_of = "master_image" if planned.kind == "ReplicaPool" else "name"
        if not values.get("name") or not values.get(name_of):
            self.notes.append(f"{planned.label}: left out, since its {name_of} is not known yet")
            return None
        if planned.kind == "ReplicaPool":
            return pb.PlannedChange(put_pool=_pool(values))
        image = pb.PutImage(spec=_image(values))
        if any(path.startswith(_CONTENT) for path in unknown):
            image.content_changes = True
        return pb.PlannedChange(put_image=image)


_REPLACEMENTS: Final = (Action.DELETE_THEN_CREATE, Action.CREATE_THEN_DELETE)
_REMOVE: Final[Mapping[str, str]] = {
    "MasterImage": "delete_image",
    "ReplicaPool": "delete_pool",
    "Server": "delete_server",
    "ServerStorageAttachment": "release",
}
KINDS: Final = tuple(_REMOVE)


def _unknown_paths(value: Any, path: str = "") -> Iterator[str]:
    if value is UNKNOWN:
        yield path
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _unknown_paths(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_paths(item, f"{path}[{index}]")


def _filled(planned: Planned) -> dict[str, Any]:
    """What is known; a value that is not known yet is taken to stay what it was."""
    values = {
        name: planned.before.get(name) if value is UNKNOWN else _known(value)
        for name, value in planned.after.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def _known(value: Any) -> Any:
    """The value without what is unknown or absent in it."""
    if isinstance(value, Mapping):
        items = {name: _known(item) for name, item in value.items() if item is not UNKNOWN}
        return {name: item for name, item in items.items() if item is not None}
    if isinstance(value, list):
        return [_known(item) for item in value if item is not UNKNOWN]
    return None if value is UNKNOWN else value


def _attach(after: Mapping[str, Any], unknown: list[str]) -> pb.PlannedChange:
    values = {name: _known(value) for name, value in after.items()}
    spec = pb.AttachmentSpec(
        name=values.get("name") or "",
        pool=values.get("pool") or "",
        force_detach=bool(values.get("force_detach")),
        resume_released=bool(values.get("resume_released")),
    )
    top = {path.partition(".")[0] for path in unknown}
    user = values.get("system_user")
    if user and "system_user" not in top:
        spec.system_user.CopyFrom(_user(user))
    inline, labels = values.get("inline_server"), values.get("server_selector")
    if inline and inline.get("name"):
        spec.inline_server.CopyFrom(_server(inline))
    elif labels and "server_selector" not in top:
        spec.server_selector.labels.update(labels)
    elif values.get("server"):
        spec.server = values["server"]
    chap = values.get("chap") or {}
    if chap.get("mode") and "chap" not in top:
        # the secret is not the engine's business in a forecast
        spec.chap.mode = chap["mode"]
    return pb.PlannedChange(attach=spec, unknown=sorted(top & {"pool", "server", "system_user"}))


def _user(value: Mapping[str, Any]) -> pb.SystemUser:
    return pb.SystemUser(name=value["name"], kind=_USER_KINDS[value["kind"]])


def _server(values: Mapping[str, Any]) -> pb.ServerSpec:
    return pb.ServerSpec(
        name=values.get("name") or "",
        initiator=values.get("initiator") or "",
        labels=values.get("labels") or {},
    )


def _pool(values: Mapping[str, Any]) -> pb.PoolSpec:
    scrub = values.get("scrub") or {}
    return pb.PoolSpec(
        name=values["name"],
        master_image=values["master_image"],
        image_version=_count(values, "image_version") or 0,
        fabric=values.get("fabric") or "",
        min_ready=_count(values, "min_ready"),
        max_replicas=_count(values, "max_replicas") or 0,
        clone_mode=values.get("clone_mode") or "",
        when_empty=values.get("when_empty") or "",
        wait_for_ready=_count(values, "wait_for_ready"),
        max_unavailable=_count(values.get("rollout") or {}, "max_unavailable") or 0,
        scrub=pb.ScrubPolicy(
            threshold=_count(scrub, "threshold") or 0,
            method=scrub.get("method") or "",
            then=scrub.get("then") or "",
            on_low_space=scrub.get("on_low_space"),
            max_age_s=parse_duration(scrub.get("max_age") or "0s", field="max_age"),
            max_bytes=parse_size(scrub["max_bytes"]) if scrub.get("max_bytes") else 0,
            verify=scrub.get("verify") or "",
            undo_window_s=parse_duration(scrub.get("undo_window") or "0s", field="undo_window"),
            windows=scrub.get("windows") or (),
            assurance=scrub.get("assurance") or "",
            on_low_stock=_count(scrub, "on_low_stock") or 0,
        ),
    )


def _count(values: Mapping[str, Any], name: str) -> int | None:
    # JSON of Pulumi's may hold whole numbers as floats
    value = values.get(name)
    return None if value is None else int(value)


def _image(values: Mapping[str, Any]) -> pb.ImageSpec:
    spec = pb.ImageSpec(
        name=values["name"],
        storage=values.get("storage") or "",
        labels=values.get("labels") or {},
        preconfigure=[
            _file(each) for each in values.get("preconfigure") or () if each.get("portion")
        ],
    )
    user = values.get("system_user") or {}
    if user.keys() >= {"name", "kind"}:
        spec.system_user.CopyFrom(_user(user))
    for role in ("read_only", "writable"):
        if values.get(role):
            getattr(spec, role).CopyFrom(_portion(values[role]))
    return spec


def _portion(value: Mapping[str, Any]) -> pb.PortionSpec:
    return pb.PortionSpec(
        source=value.get("source") or "",
        format=value.get("format") or "",
        size_bytes=parse_size(value["size"]) if value.get("size") else 0,
        sha256=value.get("sha256") or "",
    )


def _file(value: Mapping[str, Any]) -> pb.Preconfigure:
    file = pb.Preconfigure(
        portion=value.get("portion") or "",
        path=value.get("path") or "",
        mode=int(value.get("mode") or "0644", 8),
    )
    for origin in ("content", "source"):
        if value.get(origin) is not None:
            setattr(file, origin, value[origin])
    return file
