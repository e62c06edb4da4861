"""Links of the scheme ``local``: ``local:///path`` is a unix socket at that path."""

from flare_transport.address import Address
from flare_transport.links import unix_link


def listen(address, owner, identity):
    return unix_link.listen(Address("unix", address.target), owner, identity)


def connect(address, owner, identity, *, peer, timeout_s):
    return unix_link.connect(Address("unix", address.target), owner, identity, peer=peer, timeout_s=timeout_s)
