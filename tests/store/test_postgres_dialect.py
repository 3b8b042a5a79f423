"""What the store writes by hand, as PostgreSQL's driver takes it."""

from __future__ import annotations

import pytest

from clonepool.store.postgres.dialect import translated, translated_trigger


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT n FROM volume WHERE id = ?", "SELECT n FROM volume WHERE id = %s"),
        ("SET state = :state, at = :now1", "SET state = %(state)s, at = %(now1)s"),
        ("a LIKE ? || '%' ESCAPE '\\'", "a LIKE %s || '%%' ESCAPE '\\'"),
        ("'?' || ':name' || 'it''s ?' || ?", "'?' || ':name' || 'it''s ?' || %s"),
        ("7 % 2", "7 %% 2"),
        ("x::json", "x::json"),
        ("a IS NOT b", "a IS DISTINCT FROM b"),
        ("a IS NOT NULL AND b IS NULL", "a IS NOT NULL AND b IS NULL"),
        ("json_object('a', 1)", "json_build_object('a', 1)"),
        ("printf('%!.17g', a.created_at)", "CAST(a.created_at AS text)"),
    ],
)
def test_a_statement_is_translated_outside_of_its_texts(statement: str, expected: str) -> None:
    assert expected == translated(statement)


def test_a_guard_becomes_a_function_and_its_trigger() -> None:
    function, trigger = translated_trigger(
        "CREATE TRIGGER kept BEFORE UPDATE OF state ON volume\n"
        "    WHEN OLD.a IS NOT NEW.a\n    BEGIN SELECT RAISE(ABORT, 'no: never'); END"
    )
    assert "IF OLD.a IS DISTINCT FROM NEW.a THEN" in function
    assert "MESSAGE = 'no: never'" in function
    assert "RETURN NEW" in function
    assert (
        "CREATE TRIGGER kept BEFORE UPDATE OF state ON volume FOR EACH ROW EXECUTE FUNCTION kept()"
    ) == trigger


def test_a_guard_of_deletions_lets_the_others_go() -> None:
    function, _trigger = translated_trigger(
        "CREATE TRIGGER kept BEFORE DELETE ON audit_entry BEGIN SELECT RAISE(ABORT, 'never'); END"
    )
    assert "IF TRUE THEN" in function
    assert "RETURN OLD" in function


def test_a_trigger_that_does_anything_else_is_refused() -> None:
    with pytest.raises(ValueError, match="no guard"):
        translated_trigger("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END")
