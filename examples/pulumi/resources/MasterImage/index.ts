import * as clonepool from "clonepool-sdk";

// a master image of acme's: what all its servers share, and what each gets a clone of
const web = new clonepool.MasterImage("web", {
    name: "web",
    systemUser: { name: "acme", kind: clonepool.SystemUserKind.Customer },
    readOnly: { source: "/srv/images/app.img" },
    writable: { source: "/srv/images/web.img", size: "16MiB" },
    preconfigure: [{
        portion: clonepool.PortionRole.Writable,
        path: "/etc/motd",
        content: "Welcome to acme's web servers.\n",
    }],
    labels: { team: "web" },
}, { customTimeouts: { create: "1h" } });

export const version = web.version;
export const size = web.sizeBytes.apply(sizes => sizes.writable);
