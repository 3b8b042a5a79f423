"""What a scrub does to the storage: erase, read back, let go of the object."""

from __future__ import annotations

import contextlib

from clonepool.backends.base import Progress
from clonepool.controllers.context import Context
from clonepool.controllers.pace import Pace
from clonepool.controllers.read_back import Object, read_back
from clonepool.controllers.worker import Control
from clonepool.crash_points import Point, reach
from clonepool.domain import names
from clonepool.domain.model import ImageVersion, Volume
from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import CloneMode, ScrubMethod, VerifyMode
from clonepool.domain.work import ScrubRun
from clonepool.errors import NotFound
from clonepool.store import scrub_records

_GONE = "gone"


class Erasing:
    """Each step may be repeated; nothing of it is known to anybody but the volume's own row."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pace = Pace(bytes_s=context.settings.scrub_rate_bytes_s)

    def erase(
        self,
        volume: Volume,
        run: ScrubRun,
        control: Control,
        *,
        reuse: ImageVersion | None,
        mode: CloneMode,
    ) -> ReadBack:
        """Erase a volume's generation by the run's method, and read back what is left of it.

        Where the volume is reformatted, to be reused as ``reuse``, and verified, its next
        generation is made here already: that is what is held against the image. Raises DataLoss
        when what was read is not what it should be.
        """
        backend = self._context.drivers.backend(volume.storage)
        # an earlier attempt may have made it of another version
        with contextlib.suppress(NotFound):
            backend.stat(name=_next_name(volume))
            backend.delete(name=_next_name(volume))
            reach(Point.SCRUB_BEGUN_AGAIN)
        if run.method is ScrubMethod.REFORMAT:
            backend.delete(name=volume.object_name)
            reach(Point.SCRUB_EMPTIED)
            return self._reformatted(volume, run, control, reuse=reuse, mode=mode)
        seen = self._in_place(volume, run, control)
        reach(Point.SCRUB_ERASED)
        # the next generation is a new object: an old descriptor must not reach it
        backend.delete(name=volume.object_name)
        return seen

    def _in_place(self, volume: Volume, run: ScrubRun, control: Control) -> ReadBack:
        backend = self._context.drivers.backend(volume.storage)
        with contextlib.suppress(NotFound):
            backend.erase(
                name=volume.object_name,
                method=run.method,
                # discarding moves no bytes that servers would wait for
                progress=self._paced(control, volume.size_bytes)
                if run.method is ScrubMethod.ZERO
                else _told(control, volume.size_bytes),
            )
            if run.verify is VerifyMode.NONE:
                return ReadBack()
            seen = read_back(
                backend,
                Object(name=volume.object_name, size_bytes=volume.size_bytes),
                mode=run.verify,
                progress=self._paced(control, volume.size_bytes),
            )
            reach(Point.SCRUB_READ)
            # durable before the object goes: what was read could never be read again
            self._context.state.write(
                lambda transaction: scrub_records.note_read_back(
                    transaction, volume=volume, read_back=seen
                )
            )
            return seen
        return self._seen_before(volume, run)

    def _seen_before(self, volume: Volume, run: ScrubRun) -> ReadBack:
        """The object is absent: a crash came after its deletion and before the record."""
        with self._context.state.read() as session:
            noted = scrub_records.noted_read_back(session, volume=volume)
        return noted or _nothing_left(run)

    def _reformatted(
        self,
        volume: Volume,
        run: ScrubRun,
        control: Control,
        *,
        reuse: ImageVersion | None,
        mode: CloneMode,
    ) -> ReadBack:
        if run.verify is VerifyMode.NONE or reuse is None or reuse.writable is None:
            return _nothing_left(run)
        backend = self._context.drivers.backend(reuse.storage)
        image = reuse.writable
        backend.clone(
            image=image.object_name,
            name=_next_name(volume),
            mode=mode,
            progress=_told(control, image.size_bytes),
        )
        reach(Point.SCRUB_REMADE)
        return read_back(
            backend,
            Object(name=_next_name(volume), size_bytes=image.size_bytes, like=image.object_name),
            mode=run.verify,
            progress=self._paced(control, image.size_bytes),
        )

    def _paced(self, control: Control, total_bytes: int) -> Progress:
        return self._pace.kept(_told(control, total_bytes), wait=control.pause)


def _told(control: Control, total_bytes: int) -> Progress:
    return lambda done_bytes: control.progress(done_bytes, total_bytes)


def _next_name(volume: Volume) -> str:
    return names.volume_object(volume_id=volume.id, generation=volume.generation + 1)


def _nothing_left(run: ScrubRun) -> ReadBack:
    """The object is deleted, so nothing of it can be read."""
    if run.verify is VerifyMode.NONE:
        return ReadBack()
    return ReadBack(mode=run.verify, result=_GONE)
