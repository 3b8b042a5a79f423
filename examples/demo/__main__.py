"""A shared master image, a pool of three ready replicas, and as many servers as are wanted now.

Run `pulumi up` with another number of `servers`, or for another `customer`: servers that go give
their volumes back, and the third released one has all of them scrubbed.
"""

import pulumi

import pulumi_clonepool as clonepool

config = pulumi.Config()
customer = config.require("customer")
fabric = config.require("fabric")

image = clonepool.MasterImage(
    "demo",
    read_only={"source": config.require("base")},
    writable={"source": config.require("data")},
    preconfigure=[{"portion": "writable", "path": "/etc/motd", "content": "Configured once.\n"}],
)
pool = clonepool.ReplicaPool(
    "demo",
    master_image=image,
    fabric=fabric,
    min_ready=3,
    max_replicas=3,
    wait_for_ready=3,
    scrub={"threshold": 3},
)

attachments = {}
for number in range(1, config.require_int("servers") + 1):
    name = f"{customer}-{number}"
    attachments[name] = clonepool.ServerStorageAttachment(
        name,
        pool=pool,
        system_user={"name": customer, "kind": "customer"},
        inline_server={"name": name, "initiator": f"iqn.2026-01.com.example:{name}"},
        # the local fabric has paths, and nobody who logs in
        chap={"mode": "generated" if fabric == "iscsi" else "none"},
    )

pulumi.export("image", image.name)
pulumi.export("pool", pool.name)
pulumi.export("attachments", {name: made.name for name, made in attachments.items()})
