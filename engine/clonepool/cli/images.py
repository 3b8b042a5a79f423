"""`clonepool image`: master images."""

from __future__ import annotations

from typing import Any

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, find, pages, request_token, wait_until
from clonepool.errors import FailedPrecondition
from clonepool.units import parse_duration, parse_size


def list_images(*, json: bool = False) -> None:
    """List master images.

    Parameters
    ----------
    json
        Print a JSON list of MasterImage.

    """
    with connect() as client:
        found = list(pages(client, "ListImages", "images", pb.ListRequest()))
    if json:
        output.print_json(documents(found))
        return
    columns = ("image", "system user", "version", "state", "read only", "writable", "created")
    output.print_table(columns, [_row(image) for image in found], empty="no images")


def show_image(name: str, /, *, json: bool = False) -> None:
    """Show one master image and its versions.

    Parameters
    ----------
    name
        The image's name or id.
    json
        Print one JSON document with the keys image and versions.

    """
    with connect() as client:
        image = find(client, "GetImage", name)
        request = pb.ListImageVersionsRequest(image_id=image.id)
        versions = client.call("ListImageVersions", request).versions
    if json:
        output.print_json({"image": document(image), "versions": documents(versions)})
        return
    _print_image(image)
    print()
    columns = ("version", "state", "read only", "writable", "volumes", "created", "error")
    output.print_table(columns, [_version_row(version) for version in versions], empty="")


def create_image(  # noqa: PLR0913 - one parameter an option
    name: str,
    /,
    *,
    writable: str = "",
    read_only: str = "",
    system_user: str = "",
    writable_size: str = "",
    writable_sha256: str = "",
    read_only_sha256: str = "",
    format: str = "auto",  # noqa: A002 - the option's name
    file: list[str] | None = None,
    storage: str = "",
    label: list[str] | None = None,
    no_wait: bool = False,
    timeout: str = "1h",
) -> None:
    """Make a master image of local files or URLs and wait for its import.

    Again with the same arguments it finds the same image.

    Parameters
    ----------
    name
        The image's name.
    writable
        Path on the engine's machine, or http(s) URL, of the portion that each server gets a
        replica of.
    read_only
        The same for the portion that all servers share.
    system_user
        customer/NAME or application/NAME it belongs to; without it the image is shared.
    writable_size
        Grow the writable portion to this size, such as 20GiB.
    writable_sha256
        SHA-256 of the writable portion's source, checked at the import.
    read_only_sha256
        The same for the read-only portion.
    format
        auto, raw, or a format that qemu-img reads.
    file
        /path/in/image=text, written into the writable portion's file system; may be repeated.
    storage
        The storage to keep it on.
    label
        key=value; may be repeated.
    no_wait
        Return at once; the import goes on.
    timeout
        How long to wait (default 1h).

    """
    spec = pb.ImageSpec(name=name, storage=storage, labels=words.parse_labels(label))
    user = words.parse_user(system_user)
    if user is not None:
        spec.system_user.CopyFrom(user)
    if writable:
        size = parse_size(writable_size, field="--writable-size") if writable_size else 0
        spec.writable.CopyFrom(_portion(writable, format, writable_sha256, size_bytes=size))
    if read_only:
        spec.read_only.CopyFrom(_portion(read_only, format, read_only_sha256))
    for path, content in words.parse_labels(file, option="--file").items():
        spec.preconfigure.add(portion="writable", path=path, content=content)
    timeout_s = parse_duration(timeout, field="--timeout")
    with connect() as client:
        token = request_token("image", name)
        client.call("CreateImage", pb.CreateImageRequest(spec=spec, request_token=token))
        if not no_wait:
            _print_image(_wait_for_import(client, name, timeout_s=timeout_s))
        else:
            print(f"image {name} is being imported; see clonepool image show {name}")


def delete_image(name: str, /) -> None:
    """Delete a master image that no pool uses.

    Parameters
    ----------
    name
        The image's name or id.

    """
    with connect() as client:
        image = find(client, "GetImage", name)
        client.call("DeleteImage", pb.DeleteRequest(id=image.id))
    print(f"image {image.spec.name} deleted")


def _portion(
    source: str, source_format: str, sha256: str, *, size_bytes: int = 0
) -> pb.PortionSpec:
    return pb.PortionSpec(source=source, format=source_format, sha256=sha256, size_bytes=size_bytes)


def _wait_for_import(client: EngineClient, name: str, *, timeout_s: float) -> Any:
    image = wait_until(
        lambda: find(client, "GetImage", name),
        done=lambda found: found.latest.state != "importing",
        timeout_s=timeout_s,
        waiting_for=lambda found: f"image {name} is still being imported ({_progress(found)})",
        way_out=f"the import goes on; see clonepool image show {name}",
    )
    if image.latest.state != "ready":
        raise FailedPrecondition(f"image {name} was not imported: {image.latest.error}")
    return image


def _progress(image: Any) -> str:
    latest = image.latest
    if not latest.total_bytes:
        return f"{words.size(latest.progress_bytes) or '0 B'} done"
    return f"{words.size(latest.progress_bytes) or '0 B'} of {words.size(latest.total_bytes)}"


def _state(image: Any) -> str:
    state = str(image.latest.state)
    if state == "importing":
        return f"importing, {_progress(image)}"
    return f"{state}: {image.latest.error}" if image.latest.error else state


def _row(image: Any) -> tuple[str, ...]:
    return (
        image.spec.name,
        words.user(image.spec.system_user) or "shared",
        str(image.current.number or ""),
        # why it failed takes a line of its own: see `image show`
        _state(image).partition(":")[0],
        words.size(image.current.read_only.size_bytes),
        words.size(image.current.writable.size_bytes),
        words.ago(image.created_at),
    )


def _version_row(version: Any) -> tuple[str, ...]:
    return (
        str(version.number),
        version.state,
        words.size(version.read_only.size_bytes),
        words.size(version.writable.size_bytes),
        str(version.volumes),
        words.ago(version.created_at),
        version.error,
    )


def _print_image(image: Any) -> None:
    output.print_fields(
        [
            ("image", image.spec.name),
            ("id", image.id),
            ("system user", words.user(image.spec.system_user) or "none: shared"),
            ("state", _state(image)),
            ("version", str(image.current.number or "")),
            ("read only", words.size(image.current.read_only.size_bytes)),
            ("writable", words.size(image.current.writable.size_bytes)),
            ("storage", image.spec.storage),
            ("labels", words.labels_text(image.spec.labels)),
            ("created", words.ago(image.created_at)),
        ]
    )
