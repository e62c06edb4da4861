"""Training scripts: their tasks, and how they run, taking turns in a shared process or in processes of their own."""

from flare_runtime.scripts.executor import ScriptExecutor

__all__ = ["ScriptExecutor"]
