"""One master image, a pool of its replicas, and a server that gets one."""

import pulumi

import pulumi_clonepool as clonepool

config = pulumi.Config()

image = clonepool.MasterImage(
    "web",
    system_user={"name": "acme", "kind": "customer"},
    writable={"source": config.require("image")},
)
pool = clonepool.ReplicaPool(
    "web",
    master_image=image,
    fabric=config.require("fabric"),
    min_ready=2,
    scrub={"threshold": 2},
)
web1 = clonepool.ServerStorageAttachment(
    "web1",
    pool=pool,
    inline_server={"name": "web1", "initiator": config.require("initiator")},
)

pulumi.export("volume", web1.volume)
pulumi.export("connection", web1.connection)
pulumi.export("chap_username", web1.chap_username)
pulumi.export("chap_secret", web1.chap_secret)
