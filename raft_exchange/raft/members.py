"""Where the members of a group are: addresses are only how to reach an id, and may change."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

MEMBERS_MAX: Final = 9
"""Upper bound of the members of one group: every entry goes to all of them."""
MEMBER_ID_CHARS_MAX: Final = 64

MEMBER_FIELDS: Final = {
    "id": (rf"\A[A-Za-z0-9._-]{{1,{MEMBER_ID_CHARS_MAX}}}\Z", "1 to 64 of A-Z a-z 0-9 . _ -"),
    "raft_address": (r"\A[A-Za-z0-9._-]{1,253}:[0-9]{1,5}\Z", "HOST:PORT, IPv4 or a name"),
    "http_url": (r"\Ahttps?://[^\s,=]{1,290}\Z", "http(s)://HOST:PORT"),
}
"""The form of each field of a `MemberAddress`, as a pattern and in words."""

MemberId = Annotated[str, msgspec.Meta(pattern=MEMBER_FIELDS["id"][0])]
RaftAddress = Annotated[str, msgspec.Meta(pattern=MEMBER_FIELDS["raft_address"][0])]
HttpUrl = Annotated[str, msgspec.Meta(pattern=MEMBER_FIELDS["http_url"][0])]


class MemberAddress(msgspec.Struct, frozen=True):
    """One member: its id, `host:port` of its Raft port, and the base URL of its HTTP port."""

    id: MemberId
    raft_address: RaftAddress
    http_url: HttpUrl

    def raft_endpoint(self) -> tuple[str, int]:
        """Return host and port of the Raft port."""
        host, _, port = self.raft_address.rpartition(":")
        return host, int(port)
