import shutil

from tests.required_tools import required_tools


def test_no_test_is_skipped_for_want_of_a_tool_that_this_run_requires() -> None:
    assert [name for name in required_tools() if shutil.which(name) is None] == []
