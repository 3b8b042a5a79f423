"""A fleet: servers named by pulumi-random, each allocated to a customer with its storage.

Lower `servers` and run `pulumi up` again: the servers that go give their volumes back, and when
`threshold` of them are released they are scrubbed together.
"""

import pulumi
import pulumi_random as random

import pulumi_clonepool as clonepool

config = pulumi.Config()
fabric = config.require("fabric")
count = config.require_int("servers")

image = clonepool.MasterImage(
    "fleet",
    # shared: each attachment names the customer that it is for
    read_only={"source": config.require("base")},
    writable={"source": config.require("image")},
)
pool = clonepool.ReplicaPool(
    "fleet",
    master_image=image,
    fabric=fabric,
    min_ready=count,
    max_replicas=4 * count,
    wait_for_ready=count,
    scrub={"threshold": config.require_int("threshold"), "method": "reformat", "then": "recycle"},
)

storage: dict[str, pulumi.Output[object]] = {}
for number in range(1, count + 1):
    pet = random.RandomPet(f"server-{number}", prefix="fleet", separator="-")
    server = clonepool.Server(
        f"server-{number}",
        name=pet.id,
        initiator=pulumi.Output.concat("iqn.2026-01.com.example:", pet.id),
        labels={"fleet": "web"},
    )
    attachment = clonepool.ServerStorageAttachment(
        f"server-{number}",
        pool=pool,
        server=server,
        system_user={"name": "acme" if number % 2 else "globex", "kind": "customer"},
        timeouts={"create": "2m"},
    )
    storage[f"server-{number}"] = pulumi.Output.all(
        server=attachment.server, volume=attachment.volume, warm=attachment.warm
    )

pulumi.export("image_version", image.version)
pulumi.export("storage", storage)
pulumi.export("stock", clonepool.get_pool_output(pool).apply(lambda found: found.ready))
