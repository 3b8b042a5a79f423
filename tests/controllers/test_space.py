"""Space is promised once: what servers wrote into their full clones is no longer owed to them."""

from __future__ import annotations

from pathlib import Path

from clonepool.backends.memory import CHUNK_BYTES, MemoryBackend
from clonepool.domain.model import PortionSpec
from clonepool.testing.engines import EngineRig

IMAGE_BYTES = 8 * CHUNK_BYTES


def test_what_a_server_wrote_is_not_promised_to_it_a_second_time(tmp_path: Path) -> None:
    """One chunk of eight has data: a fresh full clone is owed seven, a written one none."""
    source = tmp_path / "sparse.img"
    source.write_bytes(b"golden".ljust(CHUNK_BYTES, b"."))
    with source.open("r+b") as file:
        file.truncate(IMAGE_BYTES)
    backend = MemoryBackend(thin=False, total_bytes=3 * IMAGE_BYTES + 2 * CHUNK_BYTES)
    with EngineRig(tmp_path / "engine", storage=backend) as rig:
        rig.add_image(writable=PortionSpec(source=str(source), format="raw"))
        rig.add_pool("written", min_ready=1, max_replicas=1)
        attachment = rig.attach_and_wait("a", pool="written")
        name = f"vol-{attachment.volume_id}-g1"
        backend.open(name=name).write_at(0, b"x" * IMAGE_BYTES)

        rig.add_pool("next", min_ready=2)

    assert 2 == sum(
        info.used_bytes == CHUNK_BYTES and not info.read_only for info in backend.list()
    )
