"""The provider's TLS certificate: minted when none is kept, and kept for the user alone.

Terraform learns it from the handshake line, so it certifies only that who answers on the socket is
who wrote the line. Minting imports ``cryptography`` (0.1 s), and Terraform starts a provider
five times a run: hence the file.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_LIFE_S: Final = 30 * 86400
_LEAST_LIFE_S: Final = 2 * 86400  # an apply may take long
_BACKDATED_S: Final = 3600
_FILE_MODE: Final = 0o600


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Key and certificate as PEM, and when it ends (seconds since the epoch)."""

    key: str
    certificate: str
    ends_at: float

    @property
    def handshake_form(self) -> str:
        """DER in base64 without padding, as go-plugin reads it: a PEM's own lines, joined."""
        return "".join(self.certificate.strip().splitlines()[1:-1]).rstrip("=")


def get_certificate(*, environ: Mapping[str, str] = os.environ) -> Certificate:
    """The kept one, or a new one that is kept; where nothing can be kept, a new one each time."""
    path = _cache(environ)
    kept = _read(path) if path else None
    if kept is not None and kept.ends_at - time.time() > _LEAST_LIFE_S:
        return kept
    made = _mint()
    if path:
        _keep(made, path)
    return made


def _cache(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("XDG_CACHE_HOME") or (
        f"{environ['HOME']}/.cache" if environ.get("HOME") else ""
    )
    return Path(folder) / "clonepool" / "terraform-provider-tls.json" if folder else None


def _read(path: Path) -> Certificate | None:
    """The kept one; None where there is none, or none that only this user could have written."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            # where files have no such owner, none can be trusted to be this user's
            user_id = getattr(os, "geteuid", lambda: None)()
            if found.st_uid != user_id or found.st_mode & 0o077:
                return None
            return Certificate(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None


def _keep(made: Certificate, path: Path) -> None:
    """Write it whole or not at all: several processes may mint at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, scratch = tempfile.mkstemp(dir=path.parent)
        with open(descriptor, "w") as file:
            file.write(json.dumps(asdict(made)))
        Path(scratch).chmod(_FILE_MODE)
        Path(scratch).replace(path)
    except OSError:
        return


def _mint() -> Certificate:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - only when minting

    from cryptography import x509  # noqa: PLC0415 - only when minting
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=_BACKDATED_S))
        .not_valid_after(now + timedelta(seconds=_LIFE_S))
        # it is its own authority: go-plugin takes it for the root as well
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Certificate(
        key=key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        certificate=made.public_bytes(pem).decode(),
        ends_at=now.timestamp() + _LIFE_S,
    )
