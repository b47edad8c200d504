"""Where the members of a group are: addresses are only how to reach an id, and may change."""

from __future__ import annotations

import msgspec


class MemberAddress(msgspec.Struct, frozen=True):
    """One member: its id, `host:port` of its Raft port, and the base URL of its HTTP port."""

    id: str
    raft_address: str
    http_url: str

    def raft_endpoint(self) -> tuple[str, int]:
        """Return host and port of the Raft port."""
        host, _, port = self.raft_address.rpartition(":")
        return host, int(port)


class Membership(msgspec.Struct, frozen=True):
    """Which cluster this is, which of its members this node is, and where they all are."""

    cluster: str
    node: str
    members: tuple[MemberAddress, ...]
