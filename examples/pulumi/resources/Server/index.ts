import * as clonepool from "clonepool-sdk";

// a server of the inventory, found by its name or by its labels
const web1 = new clonepool.Server("web1", {
    name: "web1",
    initiator: "iqn.2026-01.com.example:web1",
    labels: { rack: "r1" },
});

export const server = web1.name;
