"""Whether the newest version of a master image is imported."""

import clonepool_sdk as clonepool
import pulumi

# of a resource that the same program declares: get_image_output(name=web.id)
found = clonepool.get_image(name="web")

pulumi.export("imported", found.latest_state)
