"""A server that speaks RBD itself: an image opened by a client of its own, as librbd does it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from clonepool.backends.rbd_bindings import load_bindings
from clonepool.domain.location import RbdImage

_TIMEOUTS: Final = {
    "client_mount_timeout": "20",
    "rados_mon_op_timeout": "20",
    "rados_osd_op_timeout": "20",
    "rbd_cache": "false",
}


class RbdClient:
    """An image, or its snapshot, held open; shut out when the client is fenced.

    Bytes of an image that is gone are ``b""``, as on a disk that was pulled.
    """

    def __init__(self, location: RbdImage) -> None:
        bindings = load_bindings()
        self._gone = (bindings.rbd.Error, bindings.rados.Error)
        self._client: Any = bindings.rados.Rados(
            conffile=str(location.conf), name=f"client.{location.client}", conf=_TIMEOUTS
        )
        self._client.connect()
        try:
            ioctx = self._client.open_ioctx(location.pool)
            ioctx.set_namespace(location.namespace)
            self._image: Any = bindings.rbd.Image(
                ioctx,
                location.image,
                snapshot=location.snapshot or None,
                read_only=bool(location.snapshot),
            )
        except BaseException:
            self._client.shutdown()
            raise

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes of a range, fewer at the end, none once the client is shut out."""
        try:
            within = max(0, min(length, self._image.size() - offset))
            return bytes(self._image.read(offset, within)) if within else b""
        except self._gone:
            return b""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write and flush. Raises OSError where the cluster refuses."""
        try:
            self._image.write(data, offset)
            self._image.flush()
        except self._gone as error:
            raise OSError(str(error)) from error

    def address(self) -> str:
        """What the cluster knows this client by."""
        return str(self._client.get_addrs())

    def close(self) -> None:
        """Let go of it."""
        with suppress(*self._gone):
            self._image.close()
        self._client.shutdown()
