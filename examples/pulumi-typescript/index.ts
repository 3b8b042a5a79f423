// One master image, a pool of its replicas, and a server that gets one.
import * as clonepool from "clonepool-sdk";
import * as pulumi from "@pulumi/pulumi";

const config = new pulumi.Config();

const image = new clonepool.MasterImage("web", {
    systemUser: { name: "acme", kind: clonepool.SystemUserKind.Customer },
    writable: { source: config.require("image") },
});
const pool = new clonepool.ReplicaPool("web", {
    masterImage: image.name,
    fabric: config.require("fabric"),
    minReady: 2,
    scrub: { threshold: 2 },
});
const web1 = new clonepool.ServerStorageAttachment("web1", {
    pool: pool.name,
    inlineServer: { name: "web1", initiator: config.require("initiator") },
}, { customTimeouts: { create: "2m" } });

export const volume = web1.volume;
export const connection = web1.connection;
export const chapUsername = web1.chapUsername;
export const chapSecret = web1.chapSecret;
// by its id: a preview that creates the pool does not know it, and waits
export const ready = clonepool.getPoolOutput({ name: pool.id }).ready;
