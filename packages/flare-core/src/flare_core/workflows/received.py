"""Models of sites that the server keeps beyond the next reply."""

from __future__ import annotations

from flare_core.errors import SiteError
from flare_core.model import FLModel, copied
from flare_core.task import Reply
from flare_core.tensor_blocks import check_finite


def received(reply: Reply) -> FLModel:
    """Return a reply's model with copies of its arrays, which stay valid after the next reply.

    Raises:
        SiteError: it holds no params.
        NonFiniteError: it holds NaN or infinity.
    """
    if reply.model.params is None:
        raise SiteError(f"the reply to '{reply.task}' holds no params; send FLModel(params=...)", site=reply.site)
    params = copied(reply.model.params)
    model = FLModel(params_type=reply.model.params_type, params=params, current_round=reply.model.current_round)
    check_finite(model, source=reply.site)
    return model
