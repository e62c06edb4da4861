"""TFModelPersistor: a Keras model in a file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from nvflare._flare.keras_models import built, trainable, weights_of
from nvflare._flare.params import joined
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelDescriptor, ModelPersistor


class TFModelPersistor(ModelPersistor):
    """Stores the weights of a Keras model; controllers see them as arrays ``layer/~index``.

    Args:
        model: a model, or ``{"path", "args"}``; one that is not built is built for its attribute ``_input_shape``.
        save_name: the file in the app's folder.
        filter_id: the component that changes what is stored.
        source_ckpt_file_full_name: a file to begin with: weights, or a whole model in Keras' own format.
    """

    def __init__(
        self,
        model: Any = None,
        save_name: str = "tf_model.weights.h5",
        filter_id: str | None = None,
        source_ckpt_file_full_name: str | None = None,
    ) -> None:
        super().__init__(filter_id=filter_id)
        self.model = model
        self.save_name = save_name
        self.source_ckpt_file_full_name = source_ckpt_file_full_name
        self._folder = Path()

    @property
    def trainable(self) -> list[str]:
        """The names of the arrays that training changes by gradients."""
        return trainable(self.model)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Prepare for the run.

        Raises:
            RecipeError: the model is none of Keras', or cannot be built.
        """
        if event_type != EventType.START_RUN:
            return
        self._folder = Path(fl_ctx.get_prop(FLContextKey.APP_ROOT))
        self._folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self.model, dict):
            self.model = fl_ctx.get_engine().build_component(self.model)
        elif isinstance(self.model, str):
            self.model = fl_ctx.get_engine().get_component(self.model)

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Return the model to begin with: that of the given file, else the stored one, else as it was made.

        Raises:
            ValueError: the given file does not exist.
            RecipeError: there is no model, or it cannot be built.
        """
        given = None if self.source_ckpt_file_full_name is None else Path(self.source_ckpt_file_full_name)
        if given is not None and not given.exists():
            raise ValueError(f"the checkpoint {given} does not exist at the server")
        if given is not None and given.suffix == ".keras":
            self.model, given = keras.saving.load_model(given), None
        self.model = built(self.model)
        path = given or self._folder / self.save_name
        if path.exists():
            self.model.load_weights(path)
        return make_model_learnable(weights_of(self.model), {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Store a model."""
        for name, weights in joined(model[ModelLearnableKey.WEIGHTS], {}).items():
            self.model.get_layer(name=name).set_weights(weights)
        self.model.save_weights(self._folder / self.save_name)

    def get_model(self, model_file: str, fl_ctx: FLContext) -> ModelLearnable | None:
        """Return a stored model; None if there is none of that name."""
        found = self.get_model_inventory(fl_ctx).get(model_file)
        if found is None:
            return None
        self.model.load_weights(found.location)
        return make_model_learnable(weights_of(self.model), {})

    def get_model_inventory(self, fl_ctx: FLContext) -> dict[str, ModelDescriptor]:
        """Return the stored models by name."""
        places = [self._folder / self.save_name]
        if self.source_ckpt_file_full_name:
            places.insert(0, Path(self.source_ckpt_file_full_name))
        return {path.name: ModelDescriptor(path.name, str(path), "TensorFlow") for path in places if path.exists()}
