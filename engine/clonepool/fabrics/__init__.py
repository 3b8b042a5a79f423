"""Fabrics: how a server reaches its volumes; one class a driver."""
