"""Storage for two servers of the pool "web"."""

import clonepool_sdk as clonepool
import pulumi

config = pulumi.Config()

# a server of the inventory
web1 = clonepool.ServerStorageAttachment(
    "web1",
    name="web1",
    pool="web",
    server="web1",
    opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="10m")),
)
# one that need not be declared, with a CHAP account of your own
batch = clonepool.ServerStorageAttachment(
    "batch",
    name="batch",
    pool="web",
    inline_server={"name": "batch1", "initiator": "iqn.2026-01.com.example:batch1"},
    chap={
        "mode": clonepool.ChapMode.GIVEN,
        "username": "batch",
        "secret": config.require_secret("chapSecret"),
    },
)

pulumi.export("target", web1.connection.target)
# a secret: encrypted in the state, and shown with --show-secrets only
pulumi.export("chapSecret", web1.chap_secret)
