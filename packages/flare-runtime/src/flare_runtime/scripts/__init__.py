"""Training scripts: run inside a process that several share by turns, or as processes of their own."""

from flare_runtime.scripts.executor import ScriptExecutor

__all__ = ["ScriptExecutor"]
