"""Inputs to the engine's messages and back: the one place that knows both spellings.

``*_spec`` makes what is sent; ``*_inputs`` writes what came back as a user would have declared
it, without what is empty; ``*_outputs`` gives the computed fields.
"""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.units import parse_duration, parse_size
from clonepool_resources.types import Inputs, Value
from clonepool_resources.values import parse_mode, write_duration, write_mode, write_size

_KINDS = {
    "customer": pb.SYSTEM_USER_KIND_CUSTOMER,
    "application": pb.SYSTEM_USER_KIND_APPLICATION,
}
_KIND_WORDS = {number: word for word, number in _KINDS.items()}


def image_spec(inputs: Inputs) -> pb.ImageSpec:
    """A master image as it is declared to the engine."""
    return pb.ImageSpec(
        name=inputs["name"],
        system_user=_system_user(inputs.get("system_user")),
        read_only=_portion(inputs.get("read_only")),
        writable=_portion(inputs.get("writable")),
        preconfigure=[_file(file) for file in inputs.get("preconfigure", ())],
        storage=inputs.get("storage", ""),
        labels=inputs.get("labels", {}),
    )


def image_inputs(spec: pb.ImageSpec) -> dict[str, Value]:
    """A master image as a user would have declared it."""
    return _present(
        name=spec.name,
        system_user=_system_user_inputs(spec),
        read_only=_portion_inputs(spec.read_only) if spec.HasField("read_only") else None,
        writable=_portion_inputs(spec.writable) if spec.HasField("writable") else None,
        preconfigure=[_file_inputs(file) for file in spec.preconfigure],
        storage=spec.storage,
        labels=dict(spec.labels),
    )


def image_outputs(image: pb.MasterImage) -> dict[str, Value]:
    """Version, digests and sizes of the current version; empty while there is none."""
    if not image.HasField("current"):
        return {}
    current = image.current
    portions = {
        role: getattr(current, role) for role in ("read_only", "writable") if current.HasField(role)
    }
    return {
        "version": current.number,
        "digests": {role: portion.digest for role, portion in portions.items()},
        "size_bytes": {role: portion.size_bytes for role, portion in portions.items()},
    }


def pool_spec(inputs: Inputs) -> pb.PoolSpec:
    """A replica pool as it is declared to the engine."""
    scrub = inputs.get("scrub", {})
    return pb.PoolSpec(
        name=inputs["name"],
        master_image=inputs["master_image"],
        image_version=inputs.get("image_version", 0),
        fabric=inputs.get("fabric", ""),
        min_ready=inputs.get("min_ready"),
        max_replicas=inputs.get("max_replicas", 0),
        clone_mode=inputs.get("clone_mode", ""),
        when_empty=inputs.get("when_empty", ""),
        wait_for_ready=inputs.get("wait_for_ready"),
        max_unavailable=inputs.get("rollout", {}).get("max_unavailable", 0),
        scrub=pb.ScrubPolicy(
            threshold=scrub.get("threshold", 0),
            method=scrub.get("method", ""),
            then=scrub.get("then", ""),
            on_low_space=scrub.get("on_low_space"),
            max_age_s=_seconds(scrub, "max_age"),
            max_bytes=parse_size(scrub["max_bytes"]) if scrub.get("max_bytes") else 0,
            verify=scrub.get("verify", ""),
            undo_window_s=_seconds(scrub, "undo_window"),
            windows=scrub.get("windows", ()),
            assurance=scrub.get("assurance", ""),
            on_low_stock=scrub.get("on_low_stock", 0),
        ),
    )


def pool_inputs(spec: pb.PoolSpec) -> dict[str, Value]:
    """A replica pool as a user would have declared it."""
    policy = spec.scrub
    scrub = _present(
        threshold=policy.threshold,
        method=policy.method,
        then=policy.then,
        max_age=write_duration(policy.max_age_s) if policy.max_age_s else None,
        max_bytes=write_size(policy.max_bytes) if policy.max_bytes else None,
        verify=policy.verify,
        undo_window=write_duration(policy.undo_window_s) if policy.undo_window_s else None,
        windows=list(policy.windows),
        assurance=policy.assurance,
        on_low_stock=policy.on_low_stock,
    )
    if policy.HasField("on_low_space"):
        scrub["on_low_space"] = policy.on_low_space
    inputs = _present(
        name=spec.name,
        master_image=spec.master_image,
        image_version=spec.image_version,
        fabric=spec.fabric,
        max_replicas=spec.max_replicas,
        clone_mode=spec.clone_mode,
        when_empty=spec.when_empty,
        rollout=_present(max_unavailable=spec.max_unavailable),
        scrub=scrub,
    )
    for name in ("min_ready", "wait_for_ready"):
        if spec.HasField(name):
            inputs[name] = getattr(spec, name)
    return inputs


def server_spec(inputs: Inputs) -> pb.ServerSpec:
    """A server, declared by itself or in line, as it is declared to the engine."""
    return pb.ServerSpec(
        name=inputs["name"],
        initiator=inputs.get("initiator", ""),
        labels=inputs.get("labels", {}),
    )


def server_inputs(spec: pb.ServerSpec) -> dict[str, Value]:
    """A server as a user would have declared it."""
    return _present(name=spec.name, initiator=spec.initiator, labels=dict(spec.labels))


def attachment_spec(inputs: Inputs) -> pb.AttachmentSpec:
    """An attachment as it is declared to the engine, a given CHAP secret included."""
    spec = pb.AttachmentSpec(
        name=inputs["name"],
        pool=inputs["pool"],
        system_user=_system_user(inputs.get("system_user")),
        chap=pb.ChapSpec(**inputs.get("chap", {})),
        force_detach=inputs.get("force_detach", False),
        resume_released=inputs.get("resume_released", False),
    )
    # by which of the two other ways the server is named comes first: `server` is an output too
    if "inline_server" in inputs:
        spec.inline_server.CopyFrom(server_spec(inputs["inline_server"]))
    elif "server_selector" in inputs:
        spec.server_selector.labels.update(inputs["server_selector"])
    else:
        spec.server = inputs["server"]
    return spec


def attachment_inputs(spec: pb.AttachmentSpec) -> dict[str, Value]:
    """An attachment as a user would have declared it; a CHAP secret never comes back."""
    way = spec.WhichOneof("server_ref")
    return _present(
        name=spec.name,
        pool=spec.pool,
        system_user=_system_user_inputs(spec),
        server=spec.server if way == "server" else None,
        inline_server=server_inputs(spec.inline_server) if way == "inline_server" else None,
        server_selector=dict(spec.server_selector.labels) if way == "server_selector" else None,
        chap=_present(mode=spec.chap.mode, username=spec.chap.username),
        force_detach=spec.force_detach,
        resume_released=spec.resume_released,
    )


def attachment_outputs(attachment: pb.Attachment) -> dict[str, Value]:
    """What the server got, with the CHAP secret; what is not there yet is left out."""
    outputs = _present(
        server=attachment.server_name,
        volume=attachment.volume_id,
        image_version=attachment.image_version,
        allocated_at=allocated_at(attachment),
    )
    outputs["warm"] = attachment.warm
    # empty without CHAP: an output that is absent reads as unknown in each of Pulumi's previews
    outputs["chap_username"] = attachment.chap_username
    outputs["chap_secret"] = attachment.chap_secret
    if attachment.HasField("connection"):
        outputs["connection"] = connection_value(attachment.connection)
    return outputs


def allocated_at(attachment: pb.Attachment) -> str:
    """When the server got its storage (RFC 3339, UTC); "" while it waits."""
    if not attachment.HasField("allocated_at"):
        return ""
    return attachment.allocated_at.ToJsonString()


def connection_value(connection: pb.Connection) -> dict[str, Value]:
    """How the server reaches its volumes."""
    return {
        "fabric": connection.fabric,
        "portals": list(connection.portals),
        "target": connection.target,
        "volumes": [_volume(volume) for volume in connection.volumes],
    }


def system_user_value(user: pb.SystemUser) -> dict[str, Value]:
    """A system user's name and kind."""
    return {"name": user.name, "kind": _KIND_WORDS.get(user.kind, "")}


def _volume(volume: pb.ConnectedVolume) -> dict[str, Value]:
    value: dict[str, Value] = _present(
        role=volume.role, serial=volume.serial, wwn=volume.wwn, size_bytes=volume.size_bytes
    )
    value["read_only"] = volume.read_only
    for where in ("lun", "path"):
        if volume.HasField(where):
            value[where] = getattr(volume, where)
    return value


def _system_user(value: Inputs | None) -> pb.SystemUser | None:
    if value is None:
        return None
    return pb.SystemUser(name=value["name"], kind=_KINDS[value["kind"]])


def _system_user_inputs(spec: pb.ImageSpec | pb.AttachmentSpec) -> dict[str, Value] | None:
    return system_user_value(spec.system_user) if spec.HasField("system_user") else None


def _portion(value: Inputs | None) -> pb.PortionSpec | None:
    if value is None:
        return None
    size = value.get("size")
    return pb.PortionSpec(
        source=value["source"],
        format=value.get("format", ""),
        size_bytes=0 if size is None else parse_size(size),
        sha256=value.get("sha256", ""),
    )


def _portion_inputs(spec: pb.PortionSpec) -> dict[str, Value]:
    size = write_size(spec.size_bytes) if spec.size_bytes else None
    return _present(source=spec.source, format=spec.format, size=size, sha256=spec.sha256)


def _file(value: Inputs) -> pb.Preconfigure:
    file = pb.Preconfigure(
        portion=value["portion"], path=value["path"], mode=parse_mode(value.get("mode", "0644"))
    )
    for origin in ("content", "source"):
        if origin in value:
            setattr(file, origin, value[origin])
    return file


def _file_inputs(file: pb.Preconfigure) -> dict[str, Value]:
    origin = file.WhichOneof("data")
    inputs = _present(portion=file.portion, path=file.path, mode=write_mode(file.mode or 0o644))
    if origin is not None:
        inputs[origin] = getattr(file, origin)
    return inputs


def _seconds(values: Inputs, name: str) -> float:
    return parse_duration(values[name]) if values.get(name) else 0.0


def _present(**values: Any) -> dict[str, Value]:
    """Only what is set: an empty string, list, map or number on the wire is an absent value."""
    return {name: value for name, value in values.items() if value}
