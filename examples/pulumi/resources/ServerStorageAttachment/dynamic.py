"""Storage for two servers of the pool "web"."""

import pulumi

import pulumi_clonepool as clonepool

config = pulumi.Config()

# a server of the inventory
web1 = clonepool.ServerStorageAttachment(
    "web1",
    name="web1",
    # or the ReplicaPool and the Server themselves, where the same program declares them
    pool="web",
    server="web1",
    timeouts={"create": "10m"},
)
# one that need not be declared, with a CHAP account of your own
batch = clonepool.ServerStorageAttachment(
    "batch",
    name="batch",
    pool="web",
    inline_server={"name": "batch1", "initiator": "iqn.2026-01.com.example:batch1"},
    chap={"mode": "given", "username": "batch", "secret": config.require_secret("chapSecret")},
)

pulumi.export("target", web1.connection.target)
# a secret: encrypted in the state, and shown with --show-secrets only
pulumi.export("chapSecret", web1.chap_secret)
