"""A master image of acme's: what all its servers share, and what each gets a clone of."""

import pulumi

import pulumi_clonepool as clonepool

web = clonepool.MasterImage(
    "web",
    name="web",
    system_user={"name": "acme", "kind": "customer"},
    read_only={"source": "/srv/images/app.img"},
    writable={"source": "/srv/images/web.img", "size": "16MiB"},
    preconfigure=[
        {"portion": "writable", "path": "/etc/motd", "content": "Welcome to acme's web servers.\n"},
    ],
    labels={"team": "web"},
)

pulumi.export("version", web.version)
pulumi.export("size", web.size_bytes.writable)
