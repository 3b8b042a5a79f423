"""Which server an attachment is of, and whether it has its storage."""

import pulumi

import pulumi_clonepool as clonepool

# of a resource that the same program declares: get_attachment_output(web1)
found = clonepool.get_attachment("web1")

pulumi.export("state", found.state)
