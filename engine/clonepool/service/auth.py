"""Who may call over TCP: whoever brings the token, or a certificate of the client CA.

A Unix socket needs neither: its mode, 0600, lets in the engine's own user and root only.
"""

from __future__ import annotations

import hmac
from typing import Final

import grpc

from clonepool.config import Settings, TlsSettings
from clonepool.errors import InvalidArgument, Unauthenticated
from clonepool.service.dispatch import Authenticate

_SCHEME: Final = "Bearer "


def authenticator(settings: Settings) -> Authenticate | None:
    """The check for each call on TCP; None where the transport's own check is enough."""
    if not settings.token:
        return None
    expected = settings.token.encode()

    def authenticate(context: grpc.ServicerContext) -> None:
        for key, value in context.invocation_metadata():
            if key == "authorization" and hmac.compare_digest(_token(value), expected):
                return
        raise Unauthenticated(
            "no valid token came with the call; set CLONEPOOL_TOKEN to the engine's token",
            reason="TOKEN",
        )

    return authenticate


def server_credentials(settings: Settings) -> grpc.ServerCredentials:
    """TLS for a TCP listener; asks for client certificates where a client CA is set.

    Raises InvalidArgument when the settings would let in anybody, or a file can't be read.
    """
    tls = settings.tls
    if tls is None:
        raise InvalidArgument.field("tls", f"{settings.listen} needs tls.certificate and tls.key")
    if not settings.token and tls.client_ca is None:
        raise InvalidArgument.field(
            "token", f"{settings.listen} needs a token or tls.client_ca, or anybody could call"
        )
    return _credentials(tls)


def _credentials(tls: TlsSettings) -> grpc.ServerCredentials:
    pair = (_read(tls, "key"), _read(tls, "certificate"))
    if tls.client_ca is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials(
        [pair], root_certificates=_read(tls, "client_ca"), require_client_auth=True
    )


def _read(tls: TlsSettings, name: str) -> bytes:
    path = getattr(tls, name)
    try:
        content: bytes = path.read_bytes()
    except OSError as problem:
        raise InvalidArgument.field(
            f"tls.{name}", f"can't read {path}: {problem.strerror}"
        ) from None
    return content


def _token(header: str | bytes) -> bytes:
    text = header.decode(errors="replace") if isinstance(header, bytes) else header
    return text[len(_SCHEME) :].encode() if text.startswith(_SCHEME) else b""
