"""Which server an attachment is of, and whether it has its storage."""

import clonepool_sdk as clonepool
import pulumi

# of a resource that the same program declares: get_attachment_output(name=web1.id)
found = clonepool.get_attachment(name="web1")

pulumi.export("state", found.state)
