"""A master image of acme's: what all its servers share, and what each gets a clone of."""

import clonepool_sdk as clonepool
import pulumi

web = clonepool.MasterImage(
    "web",
    name="web",
    system_user={"name": "acme", "kind": clonepool.SystemUserKind.CUSTOMER},
    read_only={"source": "/srv/images/app.img"},
    writable={"source": "/srv/images/web.img", "size": "16MiB"},
    preconfigure=[
        {
            "portion": clonepool.PortionRole.WRITABLE,
            "path": "/etc/motd",
            "content": "Welcome to acme's web servers.\n",
        },
    ],
    labels={"team": "web"},
    opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="1h")),
)

pulumi.export("version", web.version)
pulumi.export("size", web.size_bytes.writable)
