"""Which version a pool's replicas are to be of, as SQL: the current one, or the one it names."""

from __future__ import annotations

from typing import Final

ID: Final = """CASE p.image_version WHEN 0 THEN i.current_version_id ELSE (
            SELECT id FROM image_version WHERE image_id = i.id AND number = p.image_version) END"""
"""Its id, of a pool ``p`` and its image ``i``; NULL while the image has none or it is gone."""
OF_POOL: Final = f"""(
        SELECT {ID} FROM pool p JOIN image i ON i.id = p.image_id WHERE p.id = :pool)
"""  # noqa: S608 - texts of ours, values bound
"""The same, of the pool whose id is ``:pool``."""
