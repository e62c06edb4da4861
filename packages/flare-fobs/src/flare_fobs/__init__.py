"""Safe object serializer: an allow-list of types, out-of-band buffers for large arrays, no pickle."""

from flare_fobs._codec import dump_frames, dumps, load_frames, loads
from flare_fobs._registry import register, register_dataclass, register_enum
from flare_fobs.errors import DecodeError, EncodeError, FobsError, LimitError, RegistrationError
from flare_fobs.tensors import to_numpy, to_torch

__all__ = [
    "DecodeError",
    "EncodeError",
    "FobsError",
    "LimitError",
    "RegistrationError",
    "dump_frames",
    "dumps",
    "load_frames",
    "loads",
    "register",
    "register_dataclass",
    "register_enum",
    "to_numpy",
    "to_torch",
]
