"""Whether the newest version of a master image is imported."""

import pulumi

import pulumi_clonepool as clonepool

# of a resource that the same program declares: get_image_output(web)
found = clonepool.get_image("web")

pulumi.export("imported", found.latest_state)
