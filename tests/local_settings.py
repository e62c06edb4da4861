"""A job that asks the sites for the settings that their owners keep."""

from __future__ import annotations

from flare_core import Executor, Federation, JobContext, Service, SiteContext, Task, Workflow


class AsksForSettings(Workflow):
    """Writes what each site has found in its folder of settings."""

    def run(self, fed: Federation) -> None:
        for _ in fed.rounds(1):
            for reply in fed.broadcast("settings", {}):
                fed.write(f"{reply.site}.txt", reply.data)


class ReadsSettings(Executor):
    def execute(self, task: Task, context: SiteContext) -> object:
        assert context.local.is_absolute()
        path = context.local / "policy.txt"
        return path.read_text() if path.is_file() else f"none in {context.local.name}"


class NotesSettings(Service):
    """Copies its party's settings into its folder in the run."""

    def start(self, context: JobContext) -> None:
        assert context.local.is_absolute()
        path = context.local / "policy.txt"
        (context.folder / "policy.txt").write_text(path.read_text() if path.is_file() else "none")

    def stop(self) -> None:
        pass
