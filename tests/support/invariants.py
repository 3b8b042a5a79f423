"""The design's invariants, looked at from outside: rows by RPC, files, and tgtd's own listing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain import names
from clonepool.domain.audit_check import check_lines
from clonepool.domain.states import PortionRole
from clonepool.fabrics.tgt import Tgt
from clonepool.fabrics.tgt_show import ShownTarget, parse_targets
from tests.support.site import RO_LUN, RW_LUN, Site, initiator_of
from tests.support.waiting import wait_for

EXPORTED = frozenset({"ready", "allocated"})
RESTING = frozenset({"ready", "allocated", "released"})


def wait_for_rest(site: Site) -> None:
    """Wait until nothing is left to do: no operation is open and every pool has its stock."""
    # work whose end the database did not take is done again when its lease is over, 30 s and a beat
    wait_for(lambda: not unrest(site) or None, what=f"rest, not {unrest(site)}", timeout_s=90)


def unrest(site: Site) -> Sequence[str]:
    """What is still to be done, in words."""
    request = pb.ListOperationsRequest(open_only=True)
    found = [
        f"{each.kind} {each.state}" for each in site.call("ListOperations", request).operations
    ]
    found += [
        f"volume of {volume.pool} {volume.state}"
        for volume in site.volumes()
        if volume.state not in RESTING
    ]
    for pool in site.pools():
        counts, spec = pool.counts, pool.spec
        assert not pool.stopped_reason, pool.stopped_reason
        room = spec.max_replicas - counts.allocated
        if counts.ready != min(spec.min_ready, room) or counts.waiting:
            found.append(f"{spec.name} {counts}")
        if counts.released >= spec.scrub.threshold:
            found.append(f"{spec.name} with {counts.released} released")
    return found


def check_invariants(site: Site) -> None:
    """Hold what is, once it rests, against what must be."""
    wait_for_rest(site)
    volumes = {volume.id: volume for volume in site.volumes()}
    attachments = site.attachments()
    _check_each_volume_has_one_attachment(volumes, attachments)
    _check_storage(site, volumes)
    _check_exports(site, volumes, attachments)
    _check_audit(site, attachments)


def _check_audit(site: Site, attachments: Sequence[pb.Attachment]) -> None:
    """The chain is whole, no volume changed hands unscrubbed, and it knows who has what now."""
    lines = [line.text for line in site.client.watch("ExportAudit", pb.ExportAuditRequest())]
    checked = check_lines(lines)
    assert (True, len(attachments)) == (checked.complete, checked.holdings)


def _check_each_volume_has_one_attachment(
    volumes: Mapping[str, pb.Volume], attachments: Sequence[pb.Attachment]
) -> None:
    holders = {each.volume_id: each.id for each in attachments}
    assert len(attachments) == len(holders), Counter(each.volume_id for each in attachments)
    held = {volume.id: volume.attachment_id for volume in volumes.values() if volume.attachment_id}
    assert holders == held
    states = {volume.id: volume.state for volume in volumes.values()}
    assert {"allocated"} >= {states[volume_id] for volume_id in holders}
    generations = {volume.id: volume.generation for volume in volumes.values()}
    assert {each.volume_id: each.volume_generation for each in attachments} == {
        volume_id: generations[volume_id] for volume_id in holders
    }


def _check_storage(site: Site, volumes: Mapping[str, pb.Volume]) -> None:
    """Every file has its row and every row its file; nothing half-made is left."""
    expected = {volume.object_name for volume in volumes.values()} | set(_portions(site))
    # what a failed import stored goes with its version
    found = set(site.objects()) - set(_portions_of_failed(site))
    assert expected == found, f"missing: {expected - found}; without a row: {found - expected}"
    assert [] == [path.name for path in (site.engine.storage / "tmp").iterdir()]


def _portions(site: Site) -> Sequence[str]:
    images: pb.ListImagesResponse = site.call("ListImages", pb.ListRequest())
    return [
        portion.object_name
        for image in images.images
        for version in _versions(site, image.id)
        for portion in (version.read_only, version.writable)
        if portion.object_name
    ]


def _portions_of_failed(site: Site) -> Sequence[str]:
    images: pb.ListImagesResponse = site.call("ListImages", pb.ListRequest())
    return [
        names.portion_object(version_id=version.id, role=role)
        for image in images.images
        for version in _versions(site, image.id)
        for role in PortionRole
        if version.state == "failed"
    ]


def _versions(site: Site, image_id: str) -> Sequence[pb.ImageVersion]:
    request = pb.ListImageVersionsRequest(image_id=image_id)
    found: Sequence[pb.ImageVersion] = site.call("ListImageVersions", request).versions
    return found


def _check_exports(
    site: Site, volumes: Mapping[str, pb.Volume], attachments: Sequence[pb.Attachment]
) -> None:
    """tgtd exports the ready and the allocated volumes, each to its one server or to nobody."""
    shown = exports(site)
    by_name = {volume.object_name: volume for volume in volumes.values()}
    exported = {name for name, volume in by_name.items() if volume.state in EXPORTED}
    assert exported == shown.keys()
    holders = {each.volume_id: each for each in attachments}
    for name, target in shown.items():
        holder = holders.get(by_name[name].id)
        admitted = (initiator_of(holder.server_name),) if holder else ()
        assert admitted == target.initiators, (name, target)
        # a target that admits anybody always asks for CHAP
        assert ((holder.chap_username,) if holder else ()) == target.accounts, (name, target)
        _check_luns(site, target, name)


def _check_luns(site: Site, target: ShownTarget, name: str) -> None:
    luns = {lun.number: lun for lun in target.luns}
    assert {RO_LUN, RW_LUN} == luns.keys()
    assert (True, False) == (luns[RO_LUN].read_only, luns[RW_LUN].read_only)
    assert str(site.objects()[name]) == luns[RW_LUN].path
    assert luns[RO_LUN].path in {str(site.objects()[portion]) for portion in _portions(site)}


def exports(site: Site) -> Mapping[str, ShownTarget]:
    """What tgtd says of itself, by the volume's object name."""
    tgt = Tgt(address=str(site.engine.tgtd_folder / "sock.0"))
    shown = parse_targets(tgt.show_targets())
    return {target.iqn.rpartition(":")[2]: target for target in shown}
