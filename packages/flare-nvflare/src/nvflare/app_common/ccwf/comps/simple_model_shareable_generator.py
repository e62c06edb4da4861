"""SimpleModelShareableGenerator, under the name that swarm learning has for it."""

from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator


class SimpleModelShareableGenerator(FullModelShareableGenerator):
    """Sends whole models; takes whole models, or differences, which it adds."""
