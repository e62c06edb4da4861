"""Cells: addressed, authenticated, multiplexed messages and byte streams."""

from flare_transport.address import Address, parse_address
from flare_transport.authentication import Credentials
from flare_transport.cell import Cell
from flare_transport.errors import (
    AddressError,
    AuthenticationError,
    HandshakeError,
    NameTakenError,
    PeerLostError,
    ProtocolError,
    RemoteError,
    StreamAbortedError,
    TransportError,
    UnreachableError,
)
from flare_transport.frames import Encoded, Message, Raw, encode
from flare_transport.links.base import Link
from flare_transport.links.socket_link import SocketLink
from flare_transport.replies import PendingReply
from flare_transport.stream_reader import StreamReader
from flare_transport.stream_writer import StreamWriter
from flare_transport.workers import blocking

__all__ = [
    "Address",
    "AddressError",
    "AuthenticationError",
    "Cell",
    "Credentials",
    "Encoded",
    "HandshakeError",
    "Link",
    "Message",
    "NameTakenError",
    "PeerLostError",
    "PendingReply",
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
    "encode",
    "parse_address",
]
