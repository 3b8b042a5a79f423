"""Clonepool: pre-cloned server storage from a pool, attached in milliseconds."""

__version__ = "0.1.0"
