"""What the table of facts about the database holds, by its keys."""

from typing import Final

ENGINE_ID: Final = "engine_id"
"""The id of whoever's state this is; engines that share it have the same."""
KEY_CHECK: Final = "key_check"
"""Its own name, sealed: who can open it has the key of the secrets."""
MOVED_TO: Final = "moved_to"
"""Where the state is now; no engine starts on what was left behind."""
