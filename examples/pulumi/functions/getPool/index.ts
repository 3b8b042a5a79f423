import * as clonepool from "clonepool-sdk";

// of a resource that the same program declares: { name: pool.id }
const found = clonepool.getPoolOutput({ name: "web" });

export const ready = found.ready;
