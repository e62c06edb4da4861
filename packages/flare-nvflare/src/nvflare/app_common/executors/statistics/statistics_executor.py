"""StatisticsExecutor, the sites' part of statistics."""

from nvflare._flare.statistics import AnsweringExecutor


class StatisticsExecutor(AnsweringExecutor):
    """Answers with the statistics of a site.

    Args:
        generator_id: the id of the object that computes them, a
            :class:`~nvflare.app_common.abstract.statistics_spec.Statistics`.
        precision: without effect; numbers are not rounded.
    """

    def __init__(self, generator_id: str, precision: int = 4) -> None:
        super().__init__()
        self.generator_id = generator_id
