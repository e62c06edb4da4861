"""The tree: gateways at the leaves, inner nodes that merge, and the server at the root."""
