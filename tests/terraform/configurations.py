"""Configurations that several tests use."""

from __future__ import annotations

from pathlib import Path


def image(name: str, source: Path | str, *, more: str = "", label: str = "image") -> str:
    """A master image of acme's with a writable portion."""
    return f"""
resource "clonepool_master_image" "{label}" {{
  name        = "{name}"
  system_user = {{ name = "acme", kind = "customer" }}
  writable    = {{ source = "{source}" }}
  {more}
}}
"""


def pool(name: str, *, more: str = "", label: str = "pool", stock: int = 1) -> str:
    """A pool of that image on the local fabric."""
    return f"""
resource "clonepool_replica_pool" "{label}" {{
  name         = "{name}"
  master_image = clonepool_master_image.image.name
  fabric       = "local"
  min_ready    = {stock}
  {more}
}}
"""


def attachment(name: str, *, more: str = "", label: str = "attachment", server: str = "") -> str:
    """An attachment of a server in line."""
    return f"""
resource "clonepool_server_storage_attachment" "{label}" {{
  name          = "{name}"
  pool          = clonepool_replica_pool.pool.name
  inline_server = {{ name = "{server or f"{name}-server"}" }}
  {more}
}}
"""


def server(name: str, *, more: str = "", label: str = "server") -> str:
    """A server of the local fabric."""
    return f"""
resource "clonepool_server" "{label}" {{
  name = "{name}"
  {more}
}}
"""
