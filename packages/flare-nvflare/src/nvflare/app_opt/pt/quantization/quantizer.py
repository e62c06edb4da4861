"""ModelQuantizer: sends models in fewer bits, with Flare's codecs."""

from __future__ import annotations

from typing import Any

from flare_core.compression.filters import CompressTensors

QUANTIZATION_TYPE = ["FLOAT16", "BLOCKWISE8", "FLOAT4", "NORMFLOAT4", "ADAQUANT"]
_CODECS = dict(zip(QUANTIZATION_TYPE, ("fp16", "int8", "int4", "int4", "int8"), strict=True))


class ModelQuantizer(CompressTensors):
    """Encodes models in fewer bits.

    Args:
        quantization_type: ``float16``, ``blockwise8`` (Flare's int8), ``float4`` or ``normfloat4`` (Flare's int4), or
            ``adaquant`` (int8).

    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, quantization_type: str = "float16") -> None:
        if quantization_type.upper() not in _CODECS:
            raise ValueError(f"quantization_type is {quantization_type!r}; give one of {', '.join(QUANTIZATION_TYPE)}")
        self.quantization_type = quantization_type
        super().__init__(_CODECS[quantization_type.upper()])

    def add_to_fed_job(self, job: Any, ctx: Any, **kwargs: Any) -> Any:
        """Add this to the app of a job that ``ctx`` stands for."""
        job.add_filter(self, kwargs["filter_type"], kwargs.get("tasks", ["*"]), ctx)
