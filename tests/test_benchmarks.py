"""What keeps the benchmarks honest: floors, the record of runs, and the page made of it."""

from pathlib import Path

import pytest
from benchmarks import __main__ as program
from benchmarks import floors, report, runs
from benchmarks.timing import Row


def test_rows_below_half_of_their_floor_are_told():
    case = "Orthogonal 512², float32"
    above = Row(case, "torch", 1.0, 1.6)
    below = Row(case, "torch", 1.0, 1.4)
    assert floors.fallen("orthogonal", [above, Row("another", "torch", 1.0, 0.01)]) == []
    (told,) = floors.fallen("orthogonal", [above, below])
    assert told == f"orthogonal: {case}: 1.40, and its floor is 3"


def test_each_floor_is_that_of_a_topic_and_of_a_row():
    known = runs.recorded()
    for topic, its in floors.FLOORS.items():
        assert topic in program.TOPICS
        newest = [each[-1] for label, each in known.items() if label.split(",")[0] == topic]
        cases = [f"{row.case}, {row.peer}" for run in newest for row in run.rows]
        for start in its:
            assert any(case.startswith(start) for case in cases), (topic, start)


def test_quick_topics_are_topics_and_each_topic_is_a_module():
    folder = Path(program.__file__).parent
    assert set(program.QUICK) <= set(program.TOPICS)
    assert [name for name in program.TOPICS if not (folder / f"{name}.py").is_file()] == []


def test_the_page_is_that_of_the_recorded_runs():
    written = (Path(program.__file__).parent / "results.md").read_text(encoding="utf-8")
    assert written == report.page(program.titles(), runs.recorded())


def test_a_run_is_recorded_and_shown_beside_those_before(tmp_path):
    file = tmp_path / "runs.jsonl"
    for peer_s in (7.0, 6.0, 5.0, None):
        row = Row("Orthogonal 512², float32", "torch", 2.0, peer_s)
        runs.record([runs.now("orthogonal, 2", [row], 0.5)], file)
    found = runs.recorded(file)
    assert [run.rows[0].peer_s for run in found["orthogonal, 2"]] == [7.0, 6.0, 5.0, None]
    shown = report.page(
        {"orthogonal, 2": "Orthogonal"}, {"orthogonal, 2": found["orthogonal, 2"][:3]}
    )
    line = shown.splitlines()[-1]
    assert (
        line == "| Orthogonal 512², float32 | 2e+03 | torch | 5e+03 | **2.50** | 3.00, 3.50 | 3 |"
    )
    refused = report.line("orthogonal", found["orthogonal, 2"][-1].rows[0], ())
    assert refused == "| Orthogonal 512², float32 | 2e+03 | torch | refuses |  |  | 3 |"


@pytest.mark.parametrize("words", [["no_such"], ["normal", "no_such"]])
def test_a_topic_that_is_none_is_refused(words):
    with pytest.raises(SystemExit, match="no topic no_such; expected some of normal"):
        program.main(words)
