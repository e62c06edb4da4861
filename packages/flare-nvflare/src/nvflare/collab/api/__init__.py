"""Names of the API of collaborations."""

from nvflare.collab.calls import CollabCallError, ContextKey

__all__ = ["CollabCallError", "ContextKey"]
