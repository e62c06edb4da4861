"""CollectAndAssembleModelAggregator, which lets an assembler combine the models of sites."""

from __future__ import annotations

from flare_core import FLModel, ModelError
from nvflare.apis.dxo import DXO
from nvflare.app_common.aggregators.assembler import Assembler
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from nvflare.app_common.utils.fl_model_utils import FLModelUtils


class CollectAndAssembleModelAggregator(ModelAggregator):
    """Collects the models of sites, and has an assembler combine them.

    Args:
        assembler_id: the component that combines them.
    """

    def __init__(self, assembler_id: str) -> None:
        super().__init__()
        self.assembler_id = assembler_id
        self._assembler: Assembler | None = None

    def accept_model(self, model: FLModel) -> None:
        """Take the model of a site.

        Raises:
            ModelError: the assembler combines data of another kind.
        """
        assembler, site = self._found(), str(model.meta.get("client_name", "?"))
        dxo: DXO = FLModelUtils.to_dxo(model)
        if dxo.data_kind != assembler.get_expected_data_kind():
            wanted = assembler.get_expected_data_kind()
            raise ModelError(f"{site} sent {dxo.data_kind}, but a {type(assembler).__name__} combines {wanted}")
        assembler.collection[site] = assembler.get_model_params(dxo)

    def aggregate_model(self) -> FLModel:
        """Return what the models amount to."""
        assembler = self._found()
        return FLModelUtils.from_dxo(assembler.assemble(assembler.collection, self.fl_ctx))

    def reset_stats(self) -> None:
        """Forget the models."""
        if self._assembler is not None:
            self._assembler.reset()

    def _found(self) -> Assembler:
        if self._assembler is None:
            found = self.fl_ctx.get_engine().get_component(self.assembler_id)
            if not isinstance(found, Assembler):
                raise ModelError(f"the component {self.assembler_id!r} is a {type(found).__name__}, no Assembler")
            found.initialize(self.fl_ctx)
            self._assembler = found
        return self._assembler
