import pytest

# Assertions in there are to be as telling as those in tests.
pytest.register_assert_rewrite("tests.interop.verdicts")
