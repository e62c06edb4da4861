"""Names that NumPy models use."""

from flare_recipes_np.model import NUMPY_KEY as _KEY


class NPConstants:
    """The key of a model that is a single array, and the default name of its file."""

    NUMPY_KEY = _KEY
    NUMPY_FILE = "server.npy"
