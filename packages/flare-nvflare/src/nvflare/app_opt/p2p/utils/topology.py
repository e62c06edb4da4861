"""Weights of networks.

Source: Xiao and Boyd 2004, Fast linear iterations for distributed averaging (Metropolis-Hastings weights).
"""

from __future__ import annotations

from typing import Any

import torch


def doubly_stochastic_adjacency(graph: Any) -> torch.Tensor:
    """Return a matrix of weights for a networkx graph whose rows and columns sum to 1."""
    nodes = list(graph.nodes())
    index = {node: number for number, node in enumerate(nodes)}
    weights = torch.zeros((len(nodes), len(nodes)))
    for left, right in graph.edges():
        value = 1.0 / (1 + max(graph.degree(left), graph.degree(right)))
        weights[index[left], index[right]] = weights[index[right], index[left]] = value
    for number in range(len(nodes)):
        weights[number, number] = 1 - weights[number].sum()
    return weights


def get_matrix_steady_state(A: torch.Tensor) -> torch.Tensor:
    """Return the eigenvector of a matrix for its largest eigenvalue, with a sum of 1."""
    values, vectors = torch.linalg.eig(A)
    vector = vectors[:, int(values.real.argmax())].real
    normalized: torch.Tensor = vector / vector.sum()
    return normalized
