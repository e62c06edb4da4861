"""Constants of jobs."""

from flare_core.job import SERVER


class FilterType:
    """The data that a filter is for: tasks, or results."""

    TASK_RESULT = "TASK_RESULT"
    TASK_DATA = "TASK_DATA"


class JobTargetType:
    """The kind of party that a part of a job is for."""

    SERVER = "server"
    CLIENT = "client"

    @classmethod
    def get_target_type(cls, target: str) -> str:
        """Return the kind of a party, given its name."""
        return cls.SERVER if target == SERVER else cls.CLIENT


__all__ = ["FilterType", "JobTargetType"]
