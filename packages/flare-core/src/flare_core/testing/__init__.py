"""Tools for unit tests of your own workflows, executors and recipes: a federation in one process, and suites of tests.

pytest explains a failed assertion of the suites in full if a ``conftest.py`` registers them before it imports them:
``pytest.register_assert_rewrite("flare_core.testing")``.
"""

from flare_core.testing.executors import ExecutorConformance
from flare_core.testing.federation import FakeFederation, resumed
from flare_core.testing.recipes import RecipeConformance
from flare_core.testing.site import FakeSite
from flare_core.testing.workflows import WorkflowConformance

__all__ = ["ExecutorConformance", "FakeFederation", "FakeSite", "RecipeConformance", "WorkflowConformance", "resumed"]
