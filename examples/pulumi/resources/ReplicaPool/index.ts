import * as clonepool from "clonepool-sdk";

// two replicas of the master image "web", always ready
const web = new clonepool.ReplicaPool("web", {
    name: "web",
    masterImage: "web",
    minReady: 2,
    maxReplicas: 20,
    scrub: { threshold: 5, method: clonepool.ScrubMethod.Zero },
});

export const pool = web.name;
