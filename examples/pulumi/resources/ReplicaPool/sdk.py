"""Two replicas of the master image "web", always ready."""

import clonepool_sdk as clonepool
import pulumi

web = clonepool.ReplicaPool(
    "web",
    name="web",
    master_image="web",
    min_ready=2,
    max_replicas=20,
    scrub={"threshold": 5, "method": clonepool.ScrubMethod.ZERO},
)

pulumi.export("pool", web.name)
