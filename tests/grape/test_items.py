"""Items: names, signatures, and what is not believed."""

from hashlib import sha1

import msgspec
import pytest

from grape.items import VALUE_BYTES_MAX, Item, is_valid, sign_item

PRIVATE_KEY = bytes(range(32))


def test_an_immutable_item_is_named_by_its_value() -> None:
    assert Item(v=b"hello world").target.hex() == "6d33adc2b6b2c14c3036feefb7fedbca1a880527"


def test_a_mutable_item_is_named_by_its_key_and_salt() -> None:
    item = sign_item(PRIVATE_KEY, b"v1", seq=1, salt=b"foo")
    assert item.target == sha1(item.k + b"foo").digest()
    assert sign_item(PRIVATE_KEY, b"v2", seq=2, salt=b"foo").target == item.target


def test_the_signed_bytes_are_those_of_bep_44() -> None:
    assert Item(v=b"v1", k=b"k", seq=1).signed_bytes == b"3:seqi1e1:v2:v1"
    salted = Item(v=b"Hello World!", k=b"k", seq=1, salt=b"foobar")
    assert salted.signed_bytes == b"4:salt6:foobar3:seqi1e1:v12:Hello World!"


def test_the_test_vectors_of_bep_44_are_valid() -> None:
    """BEP 44, "test vectors" 1 and 2 (the key there is expanded; its public half is given)."""
    k = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
    plain = Item(
        v=b"Hello World!",
        k=k,
        seq=1,
        sig=bytes.fromhex(
            "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
            "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
        ),
    )
    salted = Item(
        v=b"Hello World!",
        k=k,
        salt=b"foobar",
        seq=1,
        sig=bytes.fromhex(
            "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
            "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
        ),
    )
    assert plain.target.hex() == "4a533d47ec9c7d95b1ad75f576cffc641853b750"
    assert salted.target.hex() == "411eba73b6f087ca51a3795d9c8c938d365e32c1"
    assert is_valid(plain)
    assert is_valid(salted)


@pytest.mark.parametrize(
    "change",
    [
        {"v": b"v2"},
        {"seq": 2},
        {"salt": b"other"},
        {"sig": bytes(64)},
        {"sig": b"short"},
        {"k": bytes(31)},
        {"k": b"\xff" * 32},
    ],
)
def test_a_changed_mutable_item_is_not_believed(change: dict[str, object]) -> None:
    item = sign_item(PRIVATE_KEY, b"v1", seq=1, salt=b"salt")
    assert is_valid(item)
    assert not is_valid(msgspec.structs.replace(item, **change))


def test_a_salt_is_at_most_64_bytes() -> None:
    assert is_valid(sign_item(PRIVATE_KEY, b"v", seq=1, salt=b"s" * 64))
    assert not is_valid(sign_item(PRIVATE_KEY, b"v", seq=1, salt=b"s" * 65))


def test_a_value_is_at_most_1000_bytes() -> None:
    assert is_valid(Item(v=b"x" * VALUE_BYTES_MAX))
    assert not is_valid(Item(v=b"x" * (VALUE_BYTES_MAX + 1)))
    assert not is_valid(Item(v=[b"x" * VALUE_BYTES_MAX]))
