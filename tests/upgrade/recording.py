"""What is recorded of a version: an engine's whole state folder, and three stacks' states."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.site import Site

RECORDED = Path(__file__).parent / "recorded"
_MARKER = b"written before the upgrade"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One version's files."""

    folder: Path

    @property
    def engine(self) -> Path:
        """The engine's state folder, packed."""
        return self.folder / "engine.tar.gz"

    @property
    def dynamic(self) -> Path:
        """`pulumi stack export` of the dynamic classes."""
        return self.folder / "pulumi-dynamic.json"

    @property
    def plugin(self) -> Path:
        """`pulumi stack export` of the plugin's types."""
        return self.folder / "pulumi-plugin.json"

    @property
    def terraform(self) -> Path:
        """Terraform's state."""
        return self.folder / "terraform.tfstate"

    def facts(self) -> dict[str, Any]:
        """What the engine said of itself when it was recorded, and the images' addresses."""
        found: dict[str, Any] = json.loads((self.folder / "facts.json").read_text())
        return found

    def keep_facts(self, facts: Mapping[str, Any]) -> None:
        """Write them."""
        text = json.dumps(facts, indent=1, sort_keys=True)
        (self.folder / "facts.json").write_text(f"{text}\n")

    def pack(self, state_dir: Path) -> None:
        """Keep the files of a state folder: no sockets, no logs, nothing of a running daemon."""
        with tarfile.open(self.engine, "w:gz", compresslevel=9) as archive:
            archive.add(state_dir, arcname="state", filter=_kept)

    def unpack(self, folder: Path) -> None:
        """Lay the state folder out again."""
        with tarfile.open(self.engine) as archive:
            archive.extractall(folder, filter="data")


def recordings() -> list[Recording]:
    """Every version that was recorded, the oldest first."""
    return [Recording(folder=path) for path in sorted(RECORDED.iterdir())]


def describe(site: Site) -> dict[str, Any]:
    """What must be the same after an upgrade, as the engine itself says it."""
    return {
        "attachments": sorted(_attachment(each) for each in site.attachments()),
        "volumes": sorted(
            [v.id, v.generation, v.pool, v.state, v.image_version] for v in site.volumes()
        ),
        "records": sorted(
            [r.volume_id, r.generation, r.system_user.name, r.method, r.then]
            for pool in site.pools()
            for r in site.records(pool.spec.name)
        ),
        "images": sorted(_image(each) for each in _images(site)),
    }


def marker(attachment: str) -> bytes:
    """What an attachment's server wrote on its volume."""
    return _MARKER + b" by " + attachment.encode()


def _attachment(message: pb.Attachment) -> list[Any]:
    return [
        message.spec.name,
        message.server_name,
        message.volume_id,
        message.volume_generation,
        message.image_version,
        message.chap_username,
    ]


def _images(site: Site) -> Any:
    return site.call("ListImages", pb.ListRequest()).images


def _image(message: pb.MasterImage) -> list[Any]:
    return [message.spec.name, message.current.number, message.current.writable.digest]


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    # a port, a process id: of the machine that it was recorded on, which is gone
    if "/tgtd/" in member.name or member.name.endswith((".log", ".sock")):
        return None
    if stat.S_ISSOCK(member.mode):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
