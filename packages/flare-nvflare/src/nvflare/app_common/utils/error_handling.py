"""Decisions about results that tell of failures."""

from __future__ import annotations


def should_ignore_result_error(
    ignore_result_error: bool | None, client_name: str, failed_clients: set[str], num_targets: int, min_responses: int
) -> bool:
    """Return True if the run goes on without the result of a site.

    Args:
        ignore_result_error: True always does, False never, None as long as enough sites are left.
        client_name: the site, which is added to ``failed_clients``.
        failed_clients: the sites that have failed in this task.
        num_targets: how many sites were given the task.
        min_responses: how many results are needed.
    """
    if ignore_result_error is not None:
        return ignore_result_error
    failed_clients.add(client_name)
    return num_targets - len(failed_clients) >= min_responses
