import * as clonepool from "clonepool-sdk";

// of a resource that the same program declares: { name: web1.id }
const found = clonepool.getAttachmentOutput({ name: "web1" });

export const state = found.state;
