"""Servers with block devices of an LVM thin pool; the engine's settings are in clonepool.toml."""

import pulumi

import pulumi_clonepool as clonepool

config = pulumi.Config()

image = clonepool.MasterImage(
    "database",
    system_user={"name": "acme", "kind": "customer"},
    storage=config.get("storage") or "thin",
    writable={"source": config.require("image")},
)
pool = clonepool.ReplicaPool(
    "database",
    master_image=image,
    fabric=config.get("fabric") or "kernel",
    clone_mode="thin",
    min_ready=2,
    max_replicas=8,
    scrub={"threshold": 2, "method": "zero", "verify": "full"},
)
for number in (1, 2):
    server = f"db{number}"
    made = clonepool.ServerStorageAttachment(
        server,
        pool=pool,
        inline_server={"name": server, "initiator": f"iqn.2026-01.com.example:{server}"},
    )
    pulumi.export(server, made.connection)
