"""Where nodes proved to be last, kept beside the identity: a restart finds them without the DHT.

Addresses are hints: whoever answers there has to prove itself anew. So the file is not synced, and
where it is damaged it is forgotten, with a word in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final

import msgspec

from raft_exchange.raft.members import MemberAddress

FILE_NAME: Final = "addresses.json"
ADDRESSES_MAX: Final = 64

logger = logging.getLogger(__name__)
_decoder: Final = msgspec.json.Decoder(
    Annotated[list[MemberAddress], msgspec.Meta(max_length=ADDRESSES_MAX)]
)


class AddressBook:
    """The last known address of each id, in one folder; those noted longest ago go first."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._found = {member.id: member for member in self._read()}

    def get(self, node_id: str) -> MemberAddress | None:
        """Return where a node was last."""
        return self._found.get(node_id)

    def urls(self) -> list[str]:
        """Return the base URLs of all nodes in the book."""
        return [member.http_url for member in self._found.values()]

    def note(self, member: MemberAddress, *, needed: Collection[str]) -> None:
        """Note where a node is; of those too many, the ids `needed` stay."""
        if self._found.get(member.id) == member:
            return
        self._found.pop(member.id, None)
        if len(self._found) >= ADDRESSES_MAX:
            del self._found[next(id_ for id_ in self._found if id_ not in needed)]
        self._found[member.id] = member
        self._write()

    def _read(self) -> list[MemberAddress]:
        try:
            found: list[MemberAddress] = _decoder.decode(self._path.read_bytes())
            return found
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("%s is forgotten: %s", self._path, error)
            return []

    def _write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_bytes(msgspec.json.encode(list(self._found.values())))
            temporary.rename(self._path)
        except OSError as error:
            logger.warning("cannot keep %s: %s", self._path, error)
