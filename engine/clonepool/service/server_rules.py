"""What a declared server and a declared attachment must be."""

from __future__ import annotations

from typing import Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.states import ChapMode
from clonepool.service import image_rules
from clonepool.service.findings import Findings

_SECRET_CHARS: Final = range(12, 256)


def server(spec: pb.ServerSpec, findings: Findings, *, prefix: str = "") -> None:
    """A server as declared; ``prefix`` is of the field's path."""
    findings.name(spec.name, f"{prefix}name")
    if spec.initiator:
        findings.initiator(spec.initiator, f"{prefix}initiator")
    findings.labels(spec.labels, f"{prefix}labels")


def attachment(spec: pb.AttachmentSpec, findings: Findings) -> None:
    """An attachment as declared."""
    findings.name(spec.name, "name")
    findings.name(spec.pool, "pool")
    if spec.HasField("system_user"):
        image_rules.system_user(spec.system_user, findings)
    _server_reference(spec, findings)
    _chap(spec.chap, findings)


def _server_reference(spec: pb.AttachmentSpec, findings: Findings) -> None:
    given = spec.WhichOneof("server_ref")
    if given == "server":
        findings.name(spec.server, "server")
    elif given == "inline_server":
        server(spec.inline_server, findings, prefix="inline_server.")
    elif given == "server_selector":
        labels = spec.server_selector.labels
        findings.require(labels, "server_selector", "needs at least one label")
        findings.labels(labels, "server_selector")
    else:
        findings.add("server", "give exactly one of server, inline_server and server_selector")


def _chap(chap: pb.ChapSpec, findings: Findings) -> None:
    findings.choice(chap.mode, ChapMode, "chap.mode")
    if chap.mode == ChapMode.GIVEN:
        _chap_word(chap.username, findings, field="chap.username", lengths=range(1, 256))
        _chap_word(chap.secret, findings, field="chap.secret", lengths=_SECRET_CHARS)
        return
    unused = "is only for the mode given"
    findings.require(not chap.username, "chap.username", unused)
    findings.require(not chap.secret, "chap.secret", unused)


def _chap_word(word: str, findings: Findings, *, field: str, lengths: range) -> None:
    # tgtd's socket splits on commas; the message never repeats the word, which may be the secret
    good = word.isascii() and word.isprintable() and "," not in word and word == word.strip()
    findings.require(
        good and len(word) in lengths,
        field,
        f"must be {lengths.start} to {lengths.stop - 1} printable ASCII characters without commas",
    )
