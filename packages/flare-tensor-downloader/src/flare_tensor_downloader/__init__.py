"""Pull-based tensor transfer between cells, lazy params and safetensors files."""

from flare_tensor_downloader.downloader import Downloader, Offer
from flare_tensor_downloader.errors import DownloadError, SafetensorsError, UnknownReferenceError
from flare_tensor_downloader.files import add_file, download_file
from flare_tensor_downloader.objects import Producer, add_object, download_object
from flare_tensor_downloader.safetensors_format import read_file, write_file
from flare_tensor_downloader.tensors import add_tensors, download_tensors, iterate_tensors

__all__ = [
    "DownloadError",
    "Downloader",
    "Offer",
    "Producer",
    "SafetensorsError",
    "UnknownReferenceError",
    "add_file",
    "add_object",
    "add_tensors",
    "download_file",
    "download_object",
    "download_tensors",
    "iterate_tensors",
    "read_file",
    "write_file",
]
