"""Generated pages: written, compared, and cleared away where nothing makes them any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.doc_pages import GeneratedPages, document, shown


def made(folder: Path, *names: str, text: str = "All there is.") -> GeneratedPages:
    pages = {
        name: document(tool="make.py", head={"title": name}, title=name, parts=[text])
        for name in names
    }
    return GeneratedPages(folder=folder, tool="make.py", pages=pages)


def test_what_is_written_is_not_stale_until_something_changes(tmp_path: Path) -> None:
    pages = made(tmp_path, "a.md", "sub/b.md")
    assert ["a.md", "sub/b.md"] == pages.stale()

    pages.write()

    assert [] == pages.stale()
    assert ["sub/b.md"] == made(tmp_path, "a.md").stale()
    assert ["a.md", "sub/b.md"] == made(tmp_path, "a.md", "sub/b.md", text="More.").stale()


def test_a_page_that_nothing_makes_goes_and_one_by_hand_stays(tmp_path: Path) -> None:
    made(tmp_path, "old.md").write()
    (tmp_path / "by-hand.md").write_text("# Mine\n")

    made(tmp_path, "new.md").write()

    assert ["by-hand.md", "new.md"] == sorted(path.name for path in tmp_path.iterdir())


def test_a_comparison_names_what_is_stale_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["make.py", "--check"])

    assert 1 == made(tmp_path, "a.md").main()
    assert "stale: a.md; run tools/make.py\n" == capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())

    monkeypatch.setattr("sys.argv", ["make.py"])
    assert 0 == made(tmp_path, "a.md").main()
    monkeypatch.setattr("sys.argv", ["make.py", "--check"])
    assert 0 == made(tmp_path, "a.md").main()


def test_a_page_is_its_head_who_made_it_and_its_parts(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print(1)\n\n")

    text = document(
        tool="make.py",
        head={"title": "A: b", "no_edit_this_page": True},
        title="A",
        parts=["One.\n", shown(tmp_path / "program.py", "python")],
    )

    assert text == (
        '---\ntitle: "A: b"\nno_edit_this_page: true\n---\n'
        "<!-- Made by tools/make.py; do not edit. -->\n\n"
        "# A\n\nOne.\n\n```python\nprint(1)\n```\n"
    )
