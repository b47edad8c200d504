"""Where nodes were last is kept for the next start; what cannot be read is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_exchange.address_book import ADDRESSES_MAX, FILE_NAME, AddressBook
from raft_exchange.raft.members import MemberAddress


def member(node_id: str, host: str = "10.0.0.1") -> MemberAddress:
    return MemberAddress(node_id, f"{host}:7081", f"http://{host}:8081")


def test_the_last_address_is_there_after_a_restart(tmp_path: Path) -> None:
    book = AddressBook(tmp_path)
    assert book.get("n1") is None
    book.note(member("n1"), needed=())
    book.note(member("n2"), needed=())
    book.note(member("n1", "10.0.0.9"), needed=())
    for again in (book, AddressBook(tmp_path)):
        assert again.get("n1") == member("n1", "10.0.0.9")
        assert again.urls() == ["http://10.0.0.1:8081", "http://10.0.0.9:8081"]


@pytest.mark.parametrize("data", [b"", b"[", b"\xff", b"{}", b'[{"id":"a b"}]', b"[" + b"1," * 99])
def test_a_damaged_book_is_forgotten_and_written_anew(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    book = AddressBook(tmp_path)
    assert "is forgotten" in caplog.text
    assert book.urls() == []
    book.note(member("n1"), needed=())
    assert AddressBook(tmp_path).get("n1") == member("n1")


def test_the_book_is_bounded_and_keeps_the_members(tmp_path: Path) -> None:
    book = AddressBook(tmp_path)
    for number in range(3 * ADDRESSES_MAX):
        book.note(member(f"n{number}"), needed=("n0", "n1"))
    assert len(book.urls()) == ADDRESSES_MAX
    assert book.get("n0")
    assert book.get("n1")
    assert book.get("n2") is None


def test_a_folder_that_takes_no_more_files_costs_only_the_memory_of_addresses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gone"
    book = AddressBook(folder)
    book.note(member("n1"), needed=())
    assert book.get("n1") == member("n1")
    assert "cannot keep" in caplog.text
