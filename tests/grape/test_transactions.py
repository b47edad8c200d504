"""Queries in flight: matching, and the three moments."""

from grape.contact import Contact
from grape.items import Item
from grape.krpc import Arguments, Ping, Put, Query, decode_message
from grape.transactions import (
    STALLED_S_MAX,
    STALLED_S_MIN,
    TIMEOUT_S,
    AnswerTimes,
    Moment,
    Transactions,
)

OWN = b"O" * 20
RESEND_S = STALLED_S_MAX / 2  # as long as nobody has answered
ASKED = Contact(b"A" * 20, ("10.0.0.1", 1))


def open_one(transactions: Transactions, arguments: Arguments | None = None) -> bytes:
    """Ask at time 0 and return the transaction id."""
    datagram = transactions.open(ASKED, arguments or Ping(), operation=None, now_s=0.0)
    query = decode_message(datagram)
    assert isinstance(query, Query)
    assert query.transaction is not None
    return query.transaction


def moments(transactions: Transactions, now_s: float) -> list[Moment]:
    return [moment for moment, _ in transactions.due(now_s=now_s)]


def test_ids_are_two_bytes_counted_from_one() -> None:
    transactions = Transactions(OWN)
    assert [open_one(transactions) for _ in range(2)] == [b"\x00\x01", b"\x00\x02"]


def test_ids_in_flight_are_not_given_twice() -> None:
    transactions = Transactions(OWN)
    kept = open_one(transactions)
    for _ in range(65_534):
        transactions.close(open_one(transactions), ASKED.address, now_s=0.0)
    assert open_one(transactions) != kept


def test_an_answer_counts_once_and_only_from_the_address_that_was_asked() -> None:
    transactions = Transactions(OWN)
    asked = open_one(transactions)
    assert transactions.waits_for(ASKED.address)
    assert transactions.close(asked, ("10.0.0.1", 2), now_s=0.0) is None
    assert transactions.close(asked, ("10.0.0.2", 1), now_s=0.0) is None
    assert transactions.close(None, ASKED.address, now_s=0.0) is None
    pending = transactions.close(asked, ASKED.address, now_s=0.0)
    assert pending is not None
    assert pending.contact == ASKED
    assert transactions.close(asked, ASKED.address, now_s=0.0) is None
    assert not transactions.waits_for(ASKED.address)
    assert (len(transactions), transactions.pings) == (0, 0)


def test_a_query_is_sent_again_then_late_then_lost() -> None:
    transactions = Transactions(OWN)
    open_one(transactions)
    assert transactions.next_s() == RESEND_S
    assert moments(transactions, RESEND_S - 0.001) == []
    assert moments(transactions, RESEND_S) == [Moment.RESEND]
    assert moments(transactions, STALLED_S_MAX) == [Moment.STALLED]
    assert moments(transactions, TIMEOUT_S) == [Moment.TIMEOUT]
    assert transactions.next_s() is None
    assert len(transactions) == 0


def test_a_put_is_not_sent_twice() -> None:
    """Its repetition would be refused as old, and the refusal believed."""
    transactions = Transactions(OWN)
    open_one(transactions, Put(Item(v=b"v"), token=b"t"))
    assert moments(transactions, TIMEOUT_S) == [Moment.STALLED, Moment.TIMEOUT]


def test_what_was_answered_is_never_due() -> None:
    transactions = Transactions(OWN)
    transactions.close(open_one(transactions), ASKED.address, now_s=0.0)
    assert moments(transactions, 10.0) == []


def test_time_that_we_slept_through_does_not_count() -> None:
    transactions = Transactions(OWN)
    open_one(transactions)
    transactions.postpone(5.0)
    assert transactions.next_s() == RESEND_S + 5.0
    assert moments(transactions, 5.0 + TIMEOUT_S - 0.001) == [Moment.RESEND, Moment.STALLED]


def test_what_is_late_is_reckoned_from_the_answers_so_far() -> None:
    times = AnswerTimes()
    assert times.stalled_after_s == STALLED_S_MAX
    for _ in range(20):
        times.add(0.001)
    assert times.stalled_after_s == STALLED_S_MIN
    for _ in range(50):
        times.add(0.15)
    assert 0.15 < times.stalled_after_s < 0.2
    for taken_s in [0.1, 0.7] * 20:
        times.add(taken_s)
    assert times.stalled_after_s == STALLED_S_MAX


def test_a_query_to_a_quick_network_stalls_earlier_and_fails_no_earlier() -> None:
    transactions = Transactions(OWN)
    transactions.close(open_one(transactions), ASKED.address, now_s=0.001)
    open_one(transactions)
    assert moments(transactions, STALLED_S_MIN) == [Moment.RESEND, Moment.STALLED]
    assert transactions.next_s() == TIMEOUT_S


def test_the_answer_to_a_repeated_query_measures_nothing() -> None:
    """It may answer either question: Karn's rule."""
    transactions = Transactions(OWN)
    asked = open_one(transactions)
    transactions.due(now_s=RESEND_S)
    transactions.close(asked, ASKED.address, now_s=RESEND_S + 0.001)
    open_one(transactions)
    assert transactions.next_s() == RESEND_S
