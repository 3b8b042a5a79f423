"""The provider's process as Terraform starts it, and its calls by the protocol's names."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from terraform_clonepool.main import _COOKIE, _COOKIE_NAME

PROGRAM = [sys.executable, "-c", "from terraform_clonepool.main import main; main()"]
LIMIT_S = 60


class Plugin:
    """A provider that was started as Terraform starts it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.line = process.stdout.readline().rstrip("\n")

    @property
    def socket(self) -> Path:
        return Path(self.line.split("|")[3])

    def channel(self) -> grpc.Channel:
        """A channel as go-plugin opens it: the line's certificate is the only authority."""
        text = self.line.split("|")[5]
        der = base64.b64decode(text + "=" * (-len(text) % 4))
        lines = base64.encodebytes(der).decode()
        pem = f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"
        return grpc.secure_channel(
            f"unix:{self.socket}",
            grpc.ssl_channel_credentials(root_certificates=pem.encode()),
            options=[("grpc.ssl_target_name_override", "localhost")],
        )

    def call(self, channel: grpc.Channel, method: str, request: bytes = b"") -> bytes:
        answer: bytes = channel.unary_unary(method)(request, timeout=LIMIT_S)
        return answer

    def ask(self, channel: grpc.Channel, method: str, request: Any, answer: Any) -> Any:
        """One of the provider's RPCs, by its name and the message that it gives."""
        path = f"/tfplugin6.Provider/{method}"
        return answer.FromString(self.call(channel, path, request.SerializeToString()))

    def end(self) -> int:
        """Ask it to end, as Terraform does."""
        with self.channel() as channel:
            self.call(channel, "/plugin.GRPCController/Shutdown")
        return self.process.wait(timeout=LIMIT_S)


@contextmanager
def started(home: Path, *, log: int = subprocess.PIPE, **variables: str) -> Iterator[Plugin]:
    """A provider in a process group of its own; a long run gives its log to DEVNULL."""
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("XDG_")},
        "HOME": str(home),
        _COOKIE_NAME: _COOKIE,
        "PLUGIN_CLIENT_CERT": "-----BEGIN CERTIFICATE-----",
        "PLUGIN_PROTOCOL_VERSIONS": "5,6",
        **variables,
    }
    process = subprocess.Popen(
        PROGRAM,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        yield Plugin(process)
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)
