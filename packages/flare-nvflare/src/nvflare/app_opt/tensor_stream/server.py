"""TensorServerStreamer: tensors are always streamed."""

from typing import Any

from nvflare.widgets.widget import Widget


class TensorServerStreamer(Widget):
    """Does nothing: tensors are always streamed, each when it is read.

    Args:
        arguments: ignored.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments
