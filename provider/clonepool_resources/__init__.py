"""Clonepool's resources for infrastructure programs: one declaration, one lifecycle.

Nothing here knows Pulumi or Terraform; each ecosystem's package adapts these to its own protocol.
"""
