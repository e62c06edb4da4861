"""The serialization of MONAI's types, which models do not need: their parameters are PyTorch's own tensors."""


def register_monai_types() -> None:
    """Do nothing: a network of MONAI is sent as any other of PyTorch."""
