"""The README's promises that a machine can check."""

from pathlib import Path

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest"


def test_the_two_commands_stand_at_the_top_and_ci_runs_the_second():
    demo = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/ntspool demo"
    assert README.index(demo) < README.index(TEST_COMMAND) < README.index("## ")
    assert TEST_COMMAND in (TOP / ".ci" / "run").read_text()
