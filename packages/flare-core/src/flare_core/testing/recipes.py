"""Tests that every recipe must pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

from flare_core.errors import RecipeError, UnknownArgumentError
from flare_core.job import Job
from flare_core.job_folder import export_job, load_job
from flare_core.recipe import Recipe


class RecipeConformance(ABC):
    """Tests of a recipe; subclass it as ``TestYours`` and define :meth:`make`."""

    @abstractmethod
    def make(self, folder: Path) -> Recipe:
        """Return a recipe; write the script that it needs to ``folder``, which is empty."""

    def test_it_takes_arguments_by_name_only(self, tmp_path: Path) -> None:
        cls: Callable[..., Recipe] = type(self.make(tmp_path))
        assert "takes keyword arguments only" in str(_raised(UnknownArgumentError, lambda: cls("demo")))

    def test_the_error_for_an_unknown_argument_suggests_a_similar_name(self, tmp_path: Path) -> None:
        recipe = self.make(tmp_path)
        cls: Callable[..., Recipe] = type(recipe)
        for name in [each.name for each in fields(recipe) if each.init]:
            error = _raised(UnknownArgumentError, partial(cls, **{f"{name}_": None}))
            assert f"did you mean {name}?" in str(error)

    def test_its_arguments_cannot_be_set_later(self, tmp_path: Path) -> None:
        recipe = self.make(tmp_path)
        for each in fields(recipe):
            _raised(RecipeError, partial(setattr, recipe, each.name, None))

    def test_each_of_its_jobs_is_new(self, tmp_path: Path) -> None:
        recipe = self.make(tmp_path)
        first = recipe.job()
        before = _exported(first, tmp_path / "first")
        for part in (first.server.workflows, first.client.executors, first.sites, first.meta):
            part.clear()
        assert _exported(recipe.job(), tmp_path / "second") == before

    def test_a_job_that_is_exported_and_loaded_is_the_same(self, tmp_path: Path) -> None:
        job = self.make(tmp_path).job()
        files = _exported(job, tmp_path / "exported")
        loaded = load_job(tmp_path / "exported" / job.name)
        assert (loaded.name, loaded.min_clients, loaded.seed) == (job.name, job.min_clients, job.seed)
        assert _exported(loaded, tmp_path / "again") == files


def _raised(kind: type[Exception], call: Callable[[], object]) -> Exception:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def _exported(job: Job, root: Path) -> dict[str, bytes]:
    """Export a job and return its files by their relative paths."""
    folder = export_job(job, root)
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
