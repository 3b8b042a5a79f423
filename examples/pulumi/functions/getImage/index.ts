import * as clonepool from "clonepool-sdk";

// of a resource that the same program declares: { name: web.id }
const found = clonepool.getImageOutput({ name: "web" });

export const imported = found.latestState;
