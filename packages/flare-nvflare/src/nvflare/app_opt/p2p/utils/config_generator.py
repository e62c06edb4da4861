"""Random networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from nvflare.app_opt.p2p.types import Neighbor, Network, Node
from nvflare.app_opt.p2p.utils.topology import doubly_stochastic_adjacency


def generate_random_network(
    num_clients: int, seed: int = 42, connection_probability: float = 0.3
) -> tuple[Network, Any]:
    """Return a connected random network of the sites ``site-1``, ``site-2``, …, and its matrix of weights.

    Args:
        num_clients: how many sites there are.
        seed: of the random choice.
        connection_probability: of each pair of sites.
    """
    import networkx  # type: ignore[import-untyped]  # it has no types

    np.random.seed(seed)
    while True:
        graph = networkx.gnp_random_graph(num_clients, p=connection_probability)
        if networkx.is_connected(graph):
            break
    weights = doubly_stochastic_adjacency(graph)
    nodes = []
    for number in range(num_clients):
        neighbors = sorted(int(each) for each in graph.neighbors(number))
        linked = [Neighbor(f"site-{each + 1}", float(weights[each, number])) for each in neighbors]
        nodes.append(Node(f"site-{number + 1}", linked))
    return Network(nodes), weights
