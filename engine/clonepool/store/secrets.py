"""Secrets at rest: AES-GCM under a key file that only the engine's user reads."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clonepool.errors import DataLoss, FailedPrecondition

_KEY_BYTES = 32
_NONCE_BYTES = 12


class SecretBox:
    """Seals and opens short texts; ``context`` binds a secret to the row that holds it."""

    def __init__(self, key_path: Path) -> None:
        self._path = key_path
        self._key = self._load_or_make()
        self._cipher = AESGCM(self._key)

    def seal(self, text: str, *, context: str) -> str:
        """Encrypt; a fresh nonce each time."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), context.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, *, context: str) -> str:
        """Decrypt. Raises DataLoss when the key is not the one that sealed it."""
        data = base64.b64decode(sealed)
        nonce, body = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, body, context.encode()).decode()
        except InvalidTag:
            text = (
                f"a secret of {context} can't be decrypted with {self._path}; "
                "put the key file back that belongs to this database"
            )
            raise DataLoss(text, reason="SECRET_KEY") from None

    def fingerprint(self, text: str) -> str:
        """Tells equal secrets from different ones; of no use without the key."""
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def _load_or_make(self) -> bytes:
        if self._path.exists():
            return self._load()
        key = secrets.token_bytes(_KEY_BYTES)
        # written aside: a start that is cut off must not leave half a key
        aside = self._path.with_suffix(".new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(self._path)
        _sync_folder(self._path.parent)
        return key

    def _load(self) -> bytes:
        key = self._path.read_bytes()
        if len(key) != _KEY_BYTES:
            text = f"{self._path} is not a key of {_KEY_BYTES} bytes; restore it from its backup"
            raise FailedPrecondition(text, reason="SECRET_KEY")
        if self._path.stat().st_mode & 0o077:
            text = f"others may read {self._path}; run: chmod 600 {self._path}"
            raise FailedPrecondition(text, reason="SECRET_KEY")
        return key


def _sync_folder(folder: Path) -> None:
    """Make the rename durable: what is sealed from now on must not outlive its key."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
