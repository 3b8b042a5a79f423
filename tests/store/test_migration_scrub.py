"""What an older version scrubbed and released is chained when its database is migrated."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from clonepool.domain.audit_check import canonical_line, check_lines
from clonepool.domain.states import VolumeState
from clonepool.store import audit
from clonepool.store.database import Database
from clonepool.store.migrate import MIGRATIONS

ROWS = """
INSERT INTO meta VALUES ('engine_id', 'engine-1');
INSERT INTO image VALUES
    ('i', 'web', NULL, NULL, 'default', '{}', 't', 'd', 'v', 1, NULL);
INSERT INTO image_version VALUES
    ('v', 'i', 1, 'ready', 'default', '{}', 'd', NULL, 0, '', 'rw', 100, '', '', 1);
INSERT INTO pool VALUES
    ('p', 'web', 'i', 'web', 0, 'iscsi', 1, 9, 'auto', 'wait', 1, 1, 10, 'zero', 'recycle', 1,
    '', 0, '', 't', 'd', 1, NULL);
INSERT INTO scrub_record(volume_id, generation, pool_name, run_id, user_name, user_kind,
    attachment_id, server_name, method, after_scrub, size_bytes, allocated_at, released_at,
    started_at, finished_at)
VALUES
    ('v1', 1, 'web', 'r', 'acme', 'customer', 'a', 's', 'zero', 'recycle', 100, 10, 11, 12, 13),
    ('v1', 2, 'web', 'r', 'shop', 'customer', 'a', 's', 'zero', 'recycle', 100, 20, 21, 22, 23);
INSERT INTO volume(id, generation, pool_id, image_version_id, node, storage, fabric, state, slot,
    size_bytes, used_bytes, clone_kind, last_attachment_id, last_user_name, last_user_kind,
    last_server, last_allocated_at, released_at, after_scrub, error, created_at, changed_at)
VALUES ('v1', 3, 'p', 'v', 'n', 'default', 'iscsi', 'planned', 0, 100, 0, '', 'b', 'acme',
    'customer', 's', 30, 31, '', '', 1, 1);
UPDATE volume SET state = 'cloning';
UPDATE volume SET state = 'ready';
UPDATE volume SET state = 'attaching', attachment_id = 'b';
UPDATE volume SET state = 'allocated';
UPDATE volume SET state = 'detaching';
UPDATE volume SET state = 'released', attachment_id = NULL;
"""


def older(path: Path) -> None:
    """A database of the revision before, with two scrubbed generations and a released volume."""
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    engine.dispose()
    with sqlite3.connect(path) as raw:
        raw.executescript(ROWS)


def test_an_older_database_has_its_history_in_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "clonepool.db"
    older(path)
    database = Database(path)
    with database.read() as session:
        part = audit.stretch(session, since=0, engine_id="engine-1")
        found = list(audit.bodies(session, part=part))
        header = {
            "kind": "header",
            "format": "clonepool-audit-1",
            "engine": "engine-1",
            "first": part.first,
            "count": part.count,
            "previous": part.previous,
            "head": part.head,
        }
    database.close()
    documents = [header, *({**json.loads(body), "hash": link} for body, link in found)]
    assert ["held", "scrubbed", "held", "scrubbed", "held"] == [
        each["kind"] for each in documents[1:]
    ]
    assert ["acme", "acme", "shop", "shop", "acme"] == [
        each["system_user"]["name"] for each in documents[1:]
    ]
    digest = hashlib.sha256(b"".join(map(canonical_line, documents))).hexdigest()
    end = {"kind": "end", "holdings": 0, "digest": digest}
    assert 5 == check_lines([canonical_line(each).decode() for each in [*documents, end]]).entries
    with sqlite3.connect(path) as raw:
        assert [link for _body, link in found if "scrubbed" in _body] == [
            row[0] for row in raw.execute("SELECT hash FROM scrub_record ORDER BY n")
        ]
        for statement in ("UPDATE scrub_record SET hash = ''", "DELETE FROM audit_entry"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                raw.execute(statement)


def test_a_volume_released_by_an_older_version_is_scrubbed_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "clonepool.db"
    older(path)
    Database(path).close()
    with sqlite3.connect(path) as raw:
        assert [(VolumeState.RELEASED, "")] == raw.execute(
            "SELECT state, read_back FROM volume"
        ).fetchall()
        raw.execute("UPDATE volume SET state = 'scrubbing', scrub_run_id = 'r'")
