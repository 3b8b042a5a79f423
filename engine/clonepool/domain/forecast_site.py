"""All that a forecast changes: images, pools, servers and attachments, and what is refused."""

from __future__ import annotations

from dataclasses import replace

from clonepool.domain.capacity import clones_are_full
from clonepool.domain.content import digest, image_content
from clonepool.domain.drift import list_names
from clonepool.domain.forecast import (
    Attach,
    AttachmentView,
    ImageView,
    PoolView,
    PutImage,
    PutPool,
    ReleasedView,
    Snapshot,
    VersionView,
)
from clonepool.domain.forecast_servers import Refusal, ServerStock
from clonepool.domain.forecast_space import RoomLeft
from clonepool.domain.forecast_stock import PoolStock, Wanted
from clonepool.domain.model import ImageSpec, PoolSpec, SystemUser
from clonepool.domain.policy import scrub_problem
from clonepool.domain.states import ChapMode, CloneMode
from clonepool.units import format_size


class Site:
    """What there is, as the forecast goes on; each method answers None or why it is refused."""

    def __init__(self, snapshot: Snapshot, *, hold: str = "") -> None:
        self._snapshot = snapshot
        self._hold = hold
        self._left = {
            name: RoomLeft(left_bytes=at.left_bytes, promisable_bytes=at.promisable_bytes)
            for name, at in snapshot.storages.items()
        }
        self.images = {image.name: image for image in snapshot.images}
        self.pools: dict[str, PoolStock] = {}
        self.servers = ServerStock(snapshot.servers)
        self.attachments = {each.name: each for each in snapshot.attachments}
        for view in snapshot.pools:
            self._add_pool(view)
        for each in snapshot.attachments:
            self.servers.hold(each.server, each.name)

    def _add_pool(self, view: PoolView) -> PoolStock:
        stock = PoolStock(view, left=self._left, hold=self._hold, at=self._snapshot.at)
        stock.wanted = self._wanted(view.spec)
        self.pools[view.spec.name] = stock
        return stock

    def _wanted(self, spec: PoolSpec) -> Wanted | None:
        image = self.images.get(spec.master_image)
        if image is None:
            return None
        number = spec.image_version or image.current
        sizes = {version.number: version.writable_bytes for version in image.versions}
        if number not in sizes:
            return None
        return Wanted(
            number=number,
            storage=image.storage,
            writable_bytes=sizes[number],
            sizes={each: size or 0 for each, size in sizes.items()},
        )

    def settle(self) -> None:
        """Let the engine do all that it would do by itself, until nothing is left to do.

        It looks at one pool after the other, and what it began at one look is done by the next.
        """
        at_work = True
        while at_work:
            for pool in self.pools.values():
                pool.finish()
            # each is looked at, also after one that was found at work
            at_work = sum(pool.look() for pool in self.pools.values()) > 0

    def put_image(self, change: PutImage) -> Refusal | bool:
        """Whether there is a new version, which its pools' next replicas have."""
        spec = change.spec
        image = self.images.get(spec.name)
        if image is not None and change.create:
            return name_taken("image", spec.name)
        if spec.storage not in self._snapshot.storages:
            text = f"the engine has no storage {spec.storage}, or it does not answer"
            return Refusal(reason="BAD_FIELD", text=text)
        content = digest(image_content(spec))
        if image is not None and not _changes(change, image, content):
            return False
        self.images[spec.name] = _with_version(image, spec, content)
        for pool in self.pools.values():
            if pool.spec.master_image == spec.name:
                pool.wanted = self._wanted(pool.spec)
        return True

    def delete_image(self, name: str) -> Refusal | None:
        """Refused while pools use it."""
        users = [pool.spec.name for pool in self.pools.values() if pool.spec.master_image == name]
        if users and name in self.images:
            text = f"master image {name} is used by pools {list_names(users)}; delete them first"
            return Refusal(reason="IMAGE_IN_USE", text=text)
        self.images.pop(name, None)
        return None

    def put_pool(self, change: PutPool) -> Refusal | None:
        """Create a pool, or change it in place."""
        spec = change.spec
        pool = self.pools.get(spec.name)
        if pool is not None and change.create:
            return name_taken("pool", spec.name)
        image = self.images.get(spec.master_image)
        if image is None:
            text = (
                f"there is no master image {spec.master_image}; `clonepool image list` shows them"
            )
            return Refusal(reason="NOT_FOUND", text=text)
        refusal = self._check_pool(spec, image, already_there=pool.spec.min_ready if pool else 0)
        if refusal is not None:
            return refusal
        self._keep_pool(spec, pool, full=self._is_full(spec, image))
        return None

    def _keep_pool(self, spec: PoolSpec, pool: PoolStock | None, *, full: bool) -> None:
        if pool is None:
            self._add_pool(PoolView(spec=spec, full_clones=full)).begin()
            return
        pool.spec, pool.full_clones = spec, full
        pool.wanted = self._wanted(spec)
        # applying the program again is the user's way to say that the cause is mended
        pool.stopped_reason = ""

    def _is_full(self, spec: PoolSpec, image: ImageView) -> bool:
        thin = self._snapshot.storages[image.storage].thin_clones
        return clones_are_full(spec.clone_mode, thin_clones=thin)

    def _check_pool(
        self, spec: PoolSpec, image: ImageView, *, already_there: int
    ) -> Refusal | None:
        storage = self._snapshot.storages.get(image.storage)
        if storage is None or spec.fabric not in self._snapshot.fabrics:
            text = f"the engine has no fabric {spec.fabric}, or a driver of the pool is away"
            return Refusal(reason="BAD_FIELD", text=text)
        problem = scrub_problem(spec.scrub, storage.scrubbing, storage=image.storage)
        if problem is not None:
            return Refusal(reason=problem.reason, text=problem.text)
        if spec.clone_mode is CloneMode.THIN and not storage.thin_clones:
            text = f"storage {image.storage} makes no thin clones; ask for clone_mode full or auto"
            return Refusal(reason="NO_THIN_CLONES", text=text)
        if spec.image_version and self._wanted(spec) is None:
            text = (
                f"version {spec.image_version} of master image {image.name} is not ready; name "
                "one that is, or 0 to follow the current one"
            )
            return Refusal(reason="BAD_FIELD", text=text)
        return self._check_fits(spec, image, needed=spec.min_ready - already_there)

    def _check_fits(self, spec: PoolSpec, image: ImageView, *, needed: int) -> Refusal | None:
        # the engine measures by the current version, whichever is pinned
        wanted = self._wanted(replace(spec, image_version=0))
        if wanted is None or wanted.writable_bytes is None or needed <= 0:
            return None
        left = self._left[wanted.storage]
        full = self._is_full(spec, image)
        fit = left.fits(clone_bytes=wanted.writable_bytes, full=full)
        if needed <= fit:
            return None
        promises = ""
        if left.promisable_bytes is not None:
            may_bytes = format_size(max(left.promisable_bytes, 0))
            promises = f" and may promise {may_bytes} by its overcommit"
        text = (
            f"pool {spec.name} with min_ready {spec.min_ready} does not fit: {needed} more "
            f"{'full' if full else 'thin'} clones of {format_size(wanted.writable_bytes)} are "
            f"asked for, {fit} fit; storage {wanted.storage} has "
            f"{format_size(max(left.left_bytes, 0))} left{promises}; free space, or lower min_ready"
        )
        return Refusal(reason="NO_SPACE", text=text)

    def delete_pool(self, name: str) -> Refusal | None:
        """Refused while attachments hold, or wait for, volumes of it."""
        held = [each.name for each in self.attachments.values() if each.pool == name]
        if held and name in self.pools:
            text = f"pool {name} has attachments ({list_names(held)}); release them first"
            return Refusal(reason="POOL_IN_USE", text=text)
        pool = self.pools.pop(name, None)
        if pool is not None:
            pool.tear_down()
        return None

    def release(self, name: str) -> Refusal | None:
        """Give back; absent is fine."""
        held = self.attachments.get(name)
        if held is None:
            return None
        if held.busy:
            text = (
                f"server {held.server} is using attachment {name}; log it out first, or set "
                "force_detach: a forced detach cuts it off"
            )
            return Refusal(reason="SERVER_BUSY", text=text)
        self.forget(held)
        pool = self.pools.get(held.pool)
        if pool is not None and held.image_version:
            volume = ReleasedView(
                size_bytes=held.size_bytes,
                age_s=0.0,
                attachment=held.name,
                system_user=held.system_user,
                image_version=held.image_version,
            )
            for each in () if held.slot else self.pools.values():
                each.supersede(name)
            pool.give_back(volume, slot=held.slot)
        elif pool is not None:
            pool.leave_queue()
        return None

    def forget(self, held: AttachmentView) -> None:
        """An attachment is no more; its server is free again with the last one."""
        del self.attachments[held.name]
        self.servers.give_back(server=held.server, attachment=held.name)

    def user_of(self, change: Attach) -> SystemUser | Refusal | None:
        """Whom the server will be allocated to; None where that is known only after the apply."""
        spec, pool = change.spec, self.pools[change.spec.pool]
        image = self.images.get(pool.spec.master_image)
        owner = image.system_user if image else None
        if "system_user" in change.unknown:
            return owner
        if owner is None and spec.system_user is None:
            text = f"system_user is needed, since master image {pool.spec.master_image} is shared"
            return Refusal(reason="BAD_FIELD", text=text)
        if owner and spec.system_user and owner != spec.system_user:
            text = (
                f"pool {spec.pool} clones master image {pool.spec.master_image} of {owner}; it "
                f"can't serve {spec.system_user}: use a pool of theirs or of a shared image"
            )
            return Refusal(reason="SYSTEM_USER", text=text)
        return spec.system_user or owner

    def needs_initiator(self, pool: PoolStock) -> bool:
        """Whether the pool's fabric knows servers by their initiator names."""
        fabric = self._snapshot.fabrics.get(pool.spec.fabric)
        return fabric is not None and fabric.needs_initiator

    def check_chap(self, change: Attach, pool: PoolStock) -> Refusal | None:
        """An account on a fabric without CHAP would protect nothing."""
        fabric = self._snapshot.fabrics.get(pool.spec.fabric)
        if change.spec.chap.mode is not ChapMode.GIVEN or fabric is None or fabric.chap:
            return None
        text = f"fabric {pool.spec.fabric} has no CHAP; leave the account out"
        return Refusal(reason="BAD_FIELD", text=text)


def name_taken(thing: str, name: str) -> Refusal:
    """The name is in use by something that is there."""
    text = f"{thing} {name} exists; take another name, import it, or delete it first"
    return Refusal(reason="NAME_TAKEN", text=text)


def _changes(change: PutImage, image: ImageView, content: str) -> bool:
    if change.content_changes is not None:
        return change.content_changes
    return content != image.content


def _with_version(image: ImageView | None, spec: ImageSpec, content: str) -> ImageView:
    """The image with one more version, as if its import succeeded."""
    number = image.latest + 1 if image else 1
    # its size is known when it is imported; where it grows, that is what was asked for
    before = (
        [each.writable_bytes for each in image.versions if each.number == image.current]
        if (image)
        else []
    )
    writable_bytes = None
    if spec.writable is not None:
        writable_bytes = spec.writable.size_bytes or next(iter(before), None) or 0
    version = VersionView(number=number, writable_bytes=writable_bytes)
    return ImageView(
        name=spec.name,
        system_user=spec.system_user,
        storage=spec.storage,
        current=number,
        latest=number,
        content=content,
        versions=((*image.versions, version) if image else (version,)),
    )
