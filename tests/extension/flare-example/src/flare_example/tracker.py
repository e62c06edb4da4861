"""Trackers: one that writes the names of a run's metrics to a file, and one that can never be used."""

from flare_core import Observer, RecipeError
from flare_core.events import MetricLogged


class Paper(Observer):
    def __init__(self, *, file: str = "paper.txt") -> None:
        self.file = file

    def attach(self, run):
        def write(event):
            with (run.folder / self.file).open("a") as file:
                file.write(f"{event.key}\n")

        run.events.subscribe(MetricLogged, write)


class Lost(Observer):
    @classmethod
    def check_installed(cls):
        raise RecipeError("the pencil is lost; buy one")

    def attach(self, run):
        raise AssertionError("never added to a recipe")
