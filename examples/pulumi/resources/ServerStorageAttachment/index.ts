import * as clonepool from "clonepool-sdk";
import * as pulumi from "@pulumi/pulumi";

const config = new pulumi.Config();

// a server of the inventory
const web1 = new clonepool.ServerStorageAttachment("web1", {
    name: "web1",
    pool: "web",
    server: "web1",
}, { customTimeouts: { create: "10m" } });
// one that need not be declared, with a CHAP account of your own
const batch = new clonepool.ServerStorageAttachment("batch", {
    name: "batch",
    pool: "web",
    inlineServer: { name: "batch1", initiator: "iqn.2026-01.com.example:batch1" },
    chap: {
        mode: clonepool.ChapMode.Given,
        username: "batch",
        secret: config.requireSecret("chapSecret"),
    },
});

export const target = web1.connection.apply(connection => connection.target);
// a secret: encrypted in the state, and shown with --show-secrets only
export const chapSecret = web1.chapSecret;
