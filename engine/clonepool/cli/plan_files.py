"""Plans as Pulumi and Terraform write them: `pulumi preview --json`, `terraform show -json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from clonepool.cli.given_files import as_written, named, one_of_many, read_object
from clonepool.cli.plan_changes import KINDS, UNKNOWN, Action, Planned, Reading
from clonepool.cli.plan_order import Before, of_configuration, of_step, without_index
from clonepool.errors import InvalidArgument

# what writes each kind of plan
PULUMI: Final = "pulumi preview --json"
TERRAFORM: Final = "terraform show -json PLAN"
_TERRAFORM_FORMATS: Final = ("0", "1")
# as in <{%reset%}>
_COLOURS: Final = re.compile(r"<\{%[^%]*%\}>")
_PULUMI_UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_PULUMI_TYPE: Final = re.compile(r"(?:pulumi-python:dynamic/clonepool|clonepool:index):(\w+)")
# ours are all deleted before they are replaced: a server, or a name, can't be had twice
_PULUMI_ACTIONS: Final = {
    "create": Action.CREATE,
    "update": Action.UPDATE,
    "delete": Action.DELETE,
    "replace": Action.DELETE_THEN_CREATE,
}
_TERRAFORM_ACTIONS: Final = {
    ("create",): Action.CREATE,
    ("update",): Action.UPDATE,
    ("delete",): Action.DELETE,
    ("delete", "create"): Action.DELETE_THEN_CREATE,
    ("create", "delete"): Action.CREATE_THEN_DELETE,
}
_TERRAFORM_TYPES: Final = {
    "clonepool_" + re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower(): kind for kind in KINDS
}
# their keys are the user's own words
_MAPS: Final = ("labels", "server_selector")


def load(path: str, *, key: str, made_by: str) -> Mapping[str, Any]:
    """A plan's JSON from a file, or from standard input for "-".

    Raises InvalidArgument where it is not what ``made_by`` prints, which has ``key`` in it, or
    where making the plan failed: what is in it then is not all that there will be.
    """
    document = read_object(path, made_by=made_by)
    path = named(path)
    _check_succeeded(document, path=path, made_by=made_by)
    if not isinstance(document.get(key), list):
        raise InvalidArgument(f"{path} has no {key}; write it by `{made_by}`")
    version = document.get("format_version")
    if version is not None and str(version).partition(".")[0] not in _TERRAFORM_FORMATS:
        text = (
            f"{path} has format_version {version}, and this Clonepool reads 0.x and 1.x; install a "
            "newer Clonepool, or make the plan with an older Terraform"
        )
        raise InvalidArgument(text)
    return document


def _check_succeeded(document: Mapping[str, Any], *, path: str, made_by: str) -> None:
    found = document.get("diagnostics")
    errors = [
        " ".join(_COLOURS.sub("", str(each.get("message", ""))).split())
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, Mapping) and each.get("severity") == "error"
    ]
    if errors or document.get("errored") is True:
        first = f": {errors[0]}" if errors and errors[0] else ""
        raise InvalidArgument(
            f"{path} is of a plan that failed{first}; mend that, then write it anew by `{made_by}`"
        )


def read_pulumi(document: Mapping[str, Any], *, path: str = "the plan") -> Reading:
    """What `pulumi preview --json` says of our resources; ``path`` is to name in an error."""
    reading = Reading()
    before: Before = {}
    for index, step in enumerate(document["steps"]):
        urn = str(step.get("urn") or "") if isinstance(step, Mapping) else ""
        with one_of_many(path, index=index, label=urn, made_by=PULUMI):
            planned = _pulumi_step(step)
            before[urn] = before.get(urn, set()) | of_step(step)
            if planned is not None:
                reading.add(planned)
    reading.put_in_order(before)
    return reading


def _pulumi_step(step: Mapping[str, Any]) -> Planned | None:
    old, new = step.get("oldState") or {}, step.get("newState") or {}
    kind = _PULUMI_TYPE.fullmatch(new.get("type") or old.get("type") or "")
    action = _PULUMI_ACTIONS.get(step.get("op", ""))
    if kind is None or action is None or kind[1] not in KINDS:
        return None
    return Planned(
        kind=kind[1],
        action=action,
        label=str(step.get("urn", "")).rpartition("::")[2],
        key=str(step.get("urn", "")),
        before=_pulumi_object(old.get("outputs") or old.get("inputs") or {}),
        after=_pulumi_object(new.get("inputs") or {}),
    )


def _pulumi_object(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _snake(name): value
        if _snake(name) in _MAPS and value != _PULUMI_UNKNOWN
        else _pulumi(value)
        for name, value in values.items()
        if not name.startswith("__")
    }


def _pulumi(value: Any) -> Any:
    if value == _PULUMI_UNKNOWN:
        return UNKNOWN
    if isinstance(value, Mapping):
        return _pulumi_object(value)
    return [_pulumi(item) for item in value] if isinstance(value, list) else value


def _snake(name: str) -> str:
    """The plugin's names are in camelCase."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def read_terraform(document: Mapping[str, Any], *, path: str = "the plan") -> Reading:
    """What `terraform show -json PLAN` says of our resources; ``path`` is to name in an error."""
    reading = Reading()
    for index, resource in enumerate(document["resource_changes"]):
        address = resource.get("address") if isinstance(resource, Mapping) else ""
        with one_of_many(path, index=index, label=address, made_by=TERRAFORM):
            planned = _terraform_change(resource)
            if planned is not None:
                reading.add(planned)
    with as_written(f"{named(path)}: its configuration", made_by=TERRAFORM):
        reading.put_in_order(of_configuration(document.get("configuration") or {}))
    return reading


def _terraform_change(resource: Mapping[str, Any]) -> Planned | None:
    kind = _TERRAFORM_TYPES.get(resource.get("type", ""))
    change = resource.get("change") or {}
    action = _TERRAFORM_ACTIONS.get(tuple(change.get("actions") or ()))
    if kind is None or action is None or resource.get("mode") != "managed":
        return None
    if not resource.get("address"):
        raise ValueError("it has no address")
    return Planned(
        kind=kind,
        action=action,
        label=str(resource["address"]),
        key=without_index(str(resource["address"])),
        before=change.get("before") or {},
        after=_inputs(_merged(change.get("after") or {}, change.get("after_unknown"))),
    )


def _merged(after: Any, unknown: Any) -> Any:
    """Terraform lists what is unknown apart, in a tree of the same shape."""
    if unknown is True:
        return UNKNOWN
    if isinstance(unknown, Mapping) and isinstance(after, Mapping):
        names = {**after, **unknown}
        return {name: _merged(after.get(name), unknown.get(name)) for name in names}
    if isinstance(unknown, list) and isinstance(after, list):
        return [
            _merged(item, unknown[index] if index < len(unknown) else None)
            for index, item in enumerate(after)
        ]
    return after


# what the engine fills in is unknown in every plan, and nobody needs to be told
_TERRAFORM_OUTPUTS: Final = frozenset(
    {
        "allocated_at",
        "chap_username",
        "connection",
        "digests",
        "id",
        "image_version",
        "server_name",
        "size_bytes",
        "trouble",
        "version",
        "volume",
        "warm",
    }
)


def _inputs(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if not (name in _TERRAFORM_OUTPUTS and value is UNKNOWN)
    }
