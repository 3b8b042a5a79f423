"""The Pulumi plugin ``pulumi-resource-clonepool``: Clonepool's resources in every Pulumi language.

It serves Pulumi's ResourceProvider protocol on the SDK's own stubs, over the same declaration and
the same lifecycles as the dynamic classes of ``pulumi_clonepool``.
"""
