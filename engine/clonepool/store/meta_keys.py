"""What the table of facts about the database holds, by its keys."""

from typing import Final

ENGINE_ID: Final = "engine_id"
"""The id of whoever's state this is; engines that share it have the same."""
KEY_CHECK: Final = "key_check"
"""Its own name, sealed: who can open it has the key of the secrets."""
MOVED_TO: Final = "moved_to"
"""Where the state is now; no engine starts on what was left behind."""
RESTORES: Final = "restores"
"""An id for each time that the state was put back from a backup, the first for its making."""
RESTORED_AT: Final = "restored_at"
"""When that was last: what is older may have been used since by who is not on record."""
ORPHANS_HELD: Final = "orphans_held/"
"""Followed by a storage: the strays that are found next may hold what servers wrote since."""
