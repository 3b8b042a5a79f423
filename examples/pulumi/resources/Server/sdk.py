"""A server of the inventory, found by its name or by its labels."""

import clonepool_sdk as clonepool
import pulumi

web1 = clonepool.Server(
    "web1",
    name="web1",
    initiator="iqn.2026-01.com.example:web1",
    labels={"rack": "r1"},
)

pulumi.export("server", web1.name)
