"""The in-memory fake: its faults and its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.backends.memory import CHUNK_BYTES, MemoryBackend
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import ResourceExhausted
from clonepool.testing.images import make_random_image

SIZE_BYTES = 4 * CHUNK_BYTES


class CrashError(Exception):
    """The process died here, as far as the test goes."""


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    return make_random_image(tmp_path / "image.raw", size_bytes=SIZE_BYTES)


def run_everything(backend: MemoryBackend, image_file: Path) -> None:
    backend.import_image(name="img", source=image_file)
    backend.clone(image="img", name="vol", mode=CloneMode.AUTO)
    backend.erase(name="vol", method=ScrubMethod.ZERO)
    backend.delete(name="vol")


def steps_of_a_run(image_file: Path) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    run_everything(MemoryBackend(on_step=lambda step, name: seen.append((step, name))), image_file)
    return seen


def test_the_steps_are_those_that_are_documented(image_file: Path) -> None:
    verbs = {
        "import": ("img", ("begin", "work", "publish", "done")),
        "clone": ("vol", ("begin", "work", "publish", "done")),
        "erase": ("vol", ("begin", "work", "done")),
        "delete": ("vol", ("begin", "done")),
    }
    expected = [(f"{verb}.{step}", name) for verb, (name, steps) in verbs.items() for step in steps]
    assert expected == steps_of_a_run(image_file)


def test_after_a_crash_at_any_step_the_same_calls_finish_the_work(image_file: Path) -> None:
    for crash_at in steps_of_a_run(image_file):

        def crash(step: str, name: str, at: tuple[str, str] = crash_at) -> None:
            if (step, name) == at:
                raise CrashError

        backend = MemoryBackend(on_step=crash)
        with pytest.raises(CrashError):
            run_everything(backend, image_file)
        backend.on_step = lambda _step, _name: None
        run_everything(backend, image_file)
        assert ["img"] == [found.name for found in backend.list()], crash_at


def test_thin_clones_use_space_as_they_are_written_and_copies_at_once(image_file: Path) -> None:
    backend = MemoryBackend(total_bytes=2 * SIZE_BYTES)
    backend.import_image(name="img", source=image_file)
    backend.clone(image="img", name="thin", mode=CloneMode.THIN)
    assert SIZE_BYTES == backend.space().free_bytes
    backend.open(name="thin").write_at(0, b"x")
    assert SIZE_BYTES - CHUNK_BYTES == backend.space().free_bytes
    with pytest.raises(ResourceExhausted, match="needs 256 KiB, 192 KiB is free"):
        backend.clone(image="img", name="full", mode=CloneMode.FULL)
    backend.delete(name="thin")
    backend.clone(image="img", name="full", mode=CloneMode.FULL)
    assert 0 == backend.space().free_bytes


def test_the_path_cannot_be_opened_by_mistake(image_file: Path) -> None:
    backend = MemoryBackend()
    backend.import_image(name="img", source=image_file)
    assert not backend.location(name="img").path.exists()
    assert image_file.read_bytes() == backend.read(name="img", offset=0, length=SIZE_BYTES)
