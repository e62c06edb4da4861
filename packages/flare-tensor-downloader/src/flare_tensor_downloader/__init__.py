"""Pull-based tensor transfer between cells, lazy params and safetensors files."""

from flare_tensor_downloader.downloader import Downloader, Offer
from flare_tensor_downloader.errors import (
    DownloadError,
    SafetensorsError,
    StalledError,
    UnknownReferenceError,
)
from flare_tensor_downloader.fetch import RemoteOffer
from flare_tensor_downloader.files import add_file, download_file
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.objects import Producer, add_object, download_object
from flare_tensor_downloader.payload import Payload, pack_payload
from flare_tensor_downloader.safetensors_format import read_file, write_file
from flare_tensor_downloader.settings import SettingError, TransferSettings
from flare_tensor_downloader.tensors import add_tensors, download_tensors, iterate_tensors
from flare_tensor_downloader.wire import (
    OfferedParams,
    keep_params,
    leased_params,
    receive_params,
    release_params,
    send_params,
)

__all__ = [
    "DownloadError",
    "Downloader",
    "Offer",
    "OfferedParams",
    "Payload",
    "Producer",
    "RemoteOffer",
    "RemoteParams",
    "SafetensorsError",
    "SettingError",
    "StalledError",
    "TensorMemory",
    "TransferSettings",
    "UnknownReferenceError",
    "add_file",
    "add_object",
    "add_tensors",
    "download_file",
    "download_object",
    "download_tensors",
    "iterate_tensors",
    "keep_params",
    "leased_params",
    "pack_payload",
    "read_file",
    "receive_params",
    "release_params",
    "send_params",
    "write_file",
]
