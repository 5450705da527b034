"""Pages of evidence: what is written, and what it says of its run."""

import re
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from evidence.page import place, ran, write

PAGE = (
    "# Evidence\n\n<!-- one -->\nold\n<!-- end of one -->\n\nbetween\n\n"
    "<!-- two -->\nold too\n<!-- end of two -->\n"
)


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "evidence.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_a_run_has_its_day_its_commit_its_machine_and_its_packages():
    told = re.fullmatch(r"\*Run: (\S+), commit ([0-9a-f]{7,}\+?), .*\d+ cores; torch .*\.\*", ran())
    assert told
    assert told[1] == f"{datetime.now(timezone.utc):%Y-%m-%d}"


def test_a_page_names_its_run_below_its_title(page):
    write(page, "# Faults\n\nWhat was found.\n\n")
    assert page.read_text(encoding="utf-8") == f"# Faults\n\n{ran()}\n\nWhat was found.\n"


def test_a_page_without_a_title_is_refused(page):
    with pytest.raises(ValueError, match=r"begins with 'What was found.': a title"):
        write(page, "What was found.\n")
    assert page.read_text(encoding="utf-8") == PAGE


def test_a_section_takes_the_place_of_the_old_one_and_names_its_run(page):
    place(page, "two", "new \\1\n")
    assert page.read_text(encoding="utf-8") == PAGE.replace("old too", f"new \\1\n\n{ran()}")


def test_a_section_without_a_place_is_refused(page):
    with pytest.raises(ValueError, match="no place for three: <!-- three -->"):
        place(page, "three", "new\n")
    assert page.read_text(encoding="utf-8") == PAGE
