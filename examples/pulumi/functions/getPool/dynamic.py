"""How much stock a pool has."""

import pulumi

import pulumi_clonepool as clonepool

# of a resource that the same program declares: get_pool_output(pool)
found = clonepool.get_pool("web")

pulumi.export("ready", found.ready)
