"""Where the members of a group are: addresses are only how to reach an id, and may change."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

MEMBERS_MAX: Final = 9
"""Upper bound of the members of one group: every entry goes to all of them."""
MEMBER_ID_CHARS_MAX: Final = 64
ADDRESS_CHARS_MAX: Final = 300
"""A host name has at most 253 characters."""

MemberId = Annotated[str, msgspec.Meta(pattern=rf"\A[A-Za-z0-9._-]{{1,{MEMBER_ID_CHARS_MAX}}}\Z")]
RaftAddress = Annotated[
    str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._-]+:[0-9]{1,5}\Z", max_length=ADDRESS_CHARS_MAX)
]
HttpUrl = Annotated[
    str, msgspec.Meta(pattern=r"\Ahttps?://[^\s,=]+\Z", max_length=ADDRESS_CHARS_MAX)
]


class MemberAddress(msgspec.Struct, frozen=True):
    """One member: its id, `host:port` of its Raft port, and the base URL of its HTTP port."""

    id: MemberId
    raft_address: RaftAddress
    http_url: HttpUrl

    def raft_endpoint(self) -> tuple[str, int]:
        """Return host and port of the Raft port."""
        host, _, port = self.raft_address.rpartition(":")
        return host, int(port)
