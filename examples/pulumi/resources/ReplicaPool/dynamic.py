"""Two replicas of the master image "web", always ready."""

import pulumi

import pulumi_clonepool as clonepool

web = clonepool.ReplicaPool(
    "web",
    name="web",
    # or the MasterImage itself, where the same program declares it
    master_image="web",
    min_ready=2,
    max_replicas=20,
    scrub={"threshold": 5, "method": "zero"},
)

pulumi.export("pool", web.name)
