"""Who is where: addresses and contacts, as values and as bytes on the wire. IPv4 only."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

NODE_ID_BYTES: Final = 20
PORT_MAX: Final = 65_535
HOST_BYTES: Final = 4
ADDRESS_BYTES: Final = HOST_BYTES + 2
CONTACT_BYTES: Final = NODE_ID_BYTES + ADDRESS_BYTES

Address: TypeAlias = tuple[str, int]  # IPv4 in dotted form, port


class Contact(msgspec.Struct, frozen=True):
    """A node of the DHT; `node_id` is empty while only the address is known."""

    node_id: bytes
    address: Address


def is_host(text: str) -> bool:
    """Return whether `text` is an IPv4 address in dotted form."""
    parts = text.split(".")
    return len(parts) == HOST_BYTES and all(
        part.isascii() and part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts
    )


def pack_address(address: Address) -> bytes:
    """Return the six bytes of an address."""
    host, port = address
    return _pack_host(host) + port.to_bytes(2, "big")


def unpack_address(data: bytes) -> Address:
    """Return the address in six bytes."""
    return f"{data[0]}.{data[1]}.{data[2]}.{data[3]}", data[4] << 8 | data[5]


def pack_contact(contact: Contact) -> bytes:
    """Return the 26 bytes of a contact."""
    return contact.node_id + pack_address(contact.address)


def unpack_contact(data: bytes) -> Contact:
    """Return the contact in 26 bytes."""
    return Contact(data[:NODE_ID_BYTES], unpack_address(data[NODE_ID_BYTES:]))


@lru_cache(maxsize=4_096)
def _pack_host(host: str) -> bytes:
    return bytes(map(int, host.split(".")))
