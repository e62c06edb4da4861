import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for modules that tests share


@pytest.fixture(scope="session")
def chromium():
    """A headless browser, for all tests that need one."""
    from browser import Browser, find_browser

    program = find_browser()
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs Chromium; apt-get install chromium")
    with Browser(program) as started:
        yield started
