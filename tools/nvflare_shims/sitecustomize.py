"""Synthetic data in the place of downloads: the pictures of Keras, and the table that scikit-learn fetches."""

import importlib.abc
import importlib.util
import sys


def _keras(module, shape):
    def load_data(*arguments, **named):
        from pictures import pictures

        (x, y), (u, v) = pictures(shape, 1), pictures(shape, 2, 0.25)
        y, v = y.astype("uint8"), v.astype("uint8")
        return ((x, y[:, None]), (u, v[:, None])) if len(shape) == 3 else ((x, y), (u, v))

    module.load_data = load_data


def _openml(module):
    def fetch_openml(name, *arguments, **named):
        import numpy as np
        import pandas as pd
        from sklearn.utils import Bunch

        random = np.random.default_rng(5)
        x = random.normal(size=(2000, 29))
        y = (x @ random.normal(size=29) > 0).astype(int)
        return Bunch(data=pd.DataFrame(x), target=pd.Series(y.astype(str)))

    module.fetch_openml = fetch_openml


_CHANGES = {
    "keras.src.datasets.mnist": lambda module: _keras(module, (28, 28)),
    "keras.src.datasets.cifar10": lambda module: _keras(module, (32, 32, 3)),
    "sklearn.datasets._openml": _openml,
}


class _Loader(importlib.abc.Loader):
    def __init__(self, loader, change):
        self._loader, self._change = loader, change

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._change(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in _CHANGES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, _CHANGES[name])
        return spec


sys.meta_path.insert(0, _Finder())
