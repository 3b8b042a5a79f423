"""How much stock a pool has."""

import clonepool_sdk as clonepool
import pulumi

# of a resource that the same program declares: get_pool_output(name=pool.id)
found = clonepool.get_pool(name="web")

pulumi.export("ready", found.ready)
