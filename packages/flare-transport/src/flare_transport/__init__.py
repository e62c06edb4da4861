"""Cells: addressed, authenticated, multiplexed messages and byte streams."""

from flare_transport.authentication import Credentials
from flare_transport.cell import Cell
from flare_transport.errors import (
    AddressError,
    AuthenticationError,
    PeerLostError,
    ProtocolError,
    RemoteError,
    StreamAbortedError,
    TransportError,
    UnreachableError,
)
from flare_transport.frames import Message, Raw
from flare_transport.links.socket_link import SocketLink
from flare_transport.stream_reader import StreamReader
from flare_transport.stream_writer import StreamWriter
from flare_transport.workers import blocking

__all__ = [
    "AddressError",
    "AuthenticationError",
    "Cell",
    "Credentials",
    "Message",
    "PeerLostError",
    "ProtocolError",
    "Raw",
    "RemoteError",
    "SocketLink",
    "StreamAbortedError",
    "StreamReader",
    "StreamWriter",
    "TransportError",
    "UnreachableError",
    "blocking",
]
