"""The content digest: of the content only, and quick where there is none."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from clonepool.errors import Cancelled
from clonepool.importer.digest import CHUNK_BYTES, digest_content, digest_file
from clonepool.testing.images import make_random_image, make_sparse_image

MIB = 2**20


def ignore(_done_bytes: int) -> None:
    pass


def by_definition(content: bytes) -> str:
    """The definition, written down as plainly as it can be."""
    chunks = [content[at : at + 4 * MIB] for at in range(0, len(content), 4 * MIB)]
    digests = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    return "sha256-4m:" + hashlib.sha256(digests).hexdigest()


def test_a_known_value(tmp_path: Path) -> None:
    """Pinned: digests are kept in databases, so the definition may never change."""
    path = make_sparse_image(tmp_path / "i", size_bytes=4 * MIB + 3, data={0: b"clonepool"})
    expected = "sha256-4m:d62a26952e1c406ecb662401732ca144de7b34f686af5c94acc3ec820123b2ca"
    assert expected == digest_file(path, progress=ignore)


@pytest.mark.parametrize("size_bytes", [1, 512, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB])
def test_it_follows_its_definition(tmp_path: Path, size_bytes: int) -> None:
    path = make_random_image(tmp_path / "i", size_bytes=size_bytes)
    assert by_definition(path.read_bytes()) == digest_file(path, progress=ignore)


def test_holes_anywhere_count_as_the_zeros_they_are(tmp_path: Path) -> None:
    source = random.Random(7)  # noqa: S311 - test data
    for number in range(12):
        size_bytes = source.randrange(1, 20 * MIB)
        data = {
            source.randrange(size_bytes): source.randbytes(source.randrange(1, 20_000))
            for _ in range(source.randrange(4))
        }
        data = {at: part[: size_bytes - at] for at, part in data.items()}
        path = make_sparse_image(tmp_path / f"{number}", size_bytes=size_bytes, data=data)
        assert by_definition(path.read_bytes()) == digest_file(path, progress=ignore)


def test_zeros_that_are_written_have_the_digest_of_holes(tmp_path: Path) -> None:
    hole = make_sparse_image(tmp_path / "hole", size_bytes=10 * MIB)
    (tmp_path / "zeros").write_bytes(bytes(10 * MIB))
    assert digest_file(hole, progress=ignore) == digest_file(tmp_path / "zeros", progress=ignore)


def test_another_size_or_byte_is_another_digest(tmp_path: Path) -> None:
    images = [
        make_sparse_image(tmp_path / "a", size_bytes=8 * MIB),
        make_sparse_image(tmp_path / "b", size_bytes=8 * MIB + 512),
        make_sparse_image(tmp_path / "c", size_bytes=8 * MIB, data={8 * MIB - 1: b"\1"}),
        make_sparse_image(tmp_path / "d", size_bytes=8 * MIB, data={0: b"\1"}),
    ]
    assert len(images) == len({digest_file(path, progress=ignore) for path in images})


def test_content_that_is_no_file_has_the_same_digest(tmp_path: Path) -> None:
    path = make_random_image(tmp_path / "i", size_bytes=CHUNK_BYTES + 100)
    content = path.read_bytes()

    def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    made = digest_content(read, size_bytes=len(content), progress=ignore)
    assert digest_file(path, progress=ignore) == made


def test_a_sparse_tebibyte_is_reported_on_its_way_and_ends_at_its_size(tmp_path: Path) -> None:
    path = make_sparse_image(tmp_path / "i", size_bytes=2**40, data={2**39: b"x"})
    seen: list[int] = []
    digest_file(path, progress=seen.append)
    assert sorted(seen) == seen
    assert 2**40 == seen[-1]
    assert len(seen) > 4


def test_it_can_be_cancelled(tmp_path: Path) -> None:
    path = make_random_image(tmp_path / "i", size_bytes=MIB)

    def cancel(_done_bytes: int) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        digest_file(path, progress=cancel)
