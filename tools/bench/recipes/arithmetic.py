"""The arithmetic of each algorithm beyond a mean, written as in its paper, on the arrays of one round."""

import numpy as np

SGD = {"momentum": 0.6, "lr": 1.0}
ADAM = {"first": 0.9, "second": 0.99, "eps": 1e-3, "lr": 0.01}


class Arithmetic:
    """The arrays of a round: the global model, and each site's model, which adds a constant to it.

    Each method does the work of one round, tensor by tensor.
    """

    def __init__(self, sites, tensors, items):
        self.sites = sites
        self.model = [np.zeros(items, np.float32) for _ in range(tensors)]
        self.replies = [[array + np.float32(site + 1) for site in range(sites)] for array in self.model]
        self.mean = [rows[-1].copy() for rows in self.replies]
        self.kept = [[np.zeros_like(array), np.zeros_like(array)] for array in self.model]

    def sgd(self):
        for old, mean, kept in zip(self.model, self.mean, self.kept, strict=True):
            kept[0] = np.float32(SGD["momentum"]) * kept[0] + (old - mean)
            _ = old - np.float32(SGD["lr"]) * kept[0]

    def adam(self):
        first, second = np.float32(ADAM["first"]), np.float32(ADAM["second"])
        for old, mean, kept in zip(self.model, self.mean, self.kept, strict=True):
            gradient = old - mean
            kept[0] = first * kept[0] + (1 - first) * gradient
            kept[1] = second * kept[1] + (1 - second) * gradient * gradient
            root = np.sqrt(kept[1] / (1 - second)) + np.float32(ADAM["eps"])
            _ = old - np.float32(ADAM["lr"]) * (kept[0] / (1 - first) / root)

    def scaffold(self):
        for total, kept in zip(self.mean, self.kept, strict=True):
            _ = kept[0] + total / self.sites

    def median(self):
        for rows in self.replies:
            np.median(np.stack(rows), axis=0)

    def trimmed(self):
        out = int(0.2 * self.sites)
        for rows in self.replies:
            np.sort(np.stack(rows), axis=0)[out : self.sites - out].mean(axis=0)

    def krum(self):
        distances = np.zeros((self.sites, self.sites))
        for rows in self.replies:
            wide = [row.astype(np.float64) for row in rows]
            for one in range(self.sites):
                for other in range(one):
                    distances[one, other] += ((wide[one] - wide[other]) ** 2).sum()
        np.sort(distances + distances.T, axis=1)
