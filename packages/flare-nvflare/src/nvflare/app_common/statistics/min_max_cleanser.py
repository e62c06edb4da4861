"""AddNoiseToMinMax, a limit for statistics."""

from nvflare._flare.statistics import StatisticsPart


class AddNoiseToMinMax(StatisticsPart):
    """Moves minimum and maximum outwards.

    Args:
        min_noise_level: at least by this share of the range.
        max_noise_level: at most by this.
    """

    limits = ("min_noise_level", "max_noise_level")

    def __init__(self, min_noise_level: float, max_noise_level: float) -> None:
        super().__init__()
        self.min_noise_level = min_noise_level
        self.max_noise_level = max_noise_level
