"""W3C Trace Context: what is of the standard's form is gone on with, all else begins a trace."""

from __future__ import annotations

import logging
import re

import pytest

from raft_exchange.gateway.tracing import HEADER_CHARS_MAX, begun, continued
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
GOOD = f"00-{TRACE_ID}-{PARENT_ID}-01"
FORM = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]")


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (GOOD, 1),
        (f"00-{TRACE_ID}-{PARENT_ID}-00", 0),
        (f"00-{TRACE_ID}-{PARENT_ID}-03", 3),
        (f"00-{TRACE_ID}-{PARENT_ID}-ff", 3),  # flags that nobody knows are not handed on
        (f"cc-{TRACE_ID}-{PARENT_ID}-01", 1),  # a later version
        (f"cc-{TRACE_ID}-{PARENT_ID}-01-what-the-future-will-be-like", 1),
        (f" \t{GOOD} ", 1),
    ],
)
def test_a_good_traceparent_is_gone_on_with(header: str, flags: int) -> None:
    trace = continued([header])
    assert trace is not None
    assert (trace.trace_id, trace.flags) == (TRACE_ID, flags)
    assert trace.span_id != PARENT_ID, "our part of the trace is our own"
    assert trace.header == f"00-{TRACE_ID}-{trace.span_id}-{flags:02x}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{PARENT_ID}-01",
        f"00-{TRACE_ID[1:]}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{PARENT_ID}-1",
        f"00-{TRACE_ID}-{PARENT_ID}-01-more",
        f"00-{TRACE_ID}-{PARENT_ID}-01-",
        f"00-{TRACE_ID}-{PARENT_ID}-01.",
        f"cc-{TRACE_ID}-{PARENT_ID}-01.more",
        f"0-{TRACE_ID}-{PARENT_ID}-01",
        f"00_{TRACE_ID}_{PARENT_ID}_01",
        f"00-{'٣' * 32}-{PARENT_ID}-01",
        f"cc-{TRACE_ID}-{PARENT_ID}-01-" + "x" * HEADER_CHARS_MAX,
        f"00-{TRACE_ID}-{PARENT_ID}-01\n",
    ],
)
def test_a_bad_traceparent_counts_as_none(header: str) -> None:
    assert continued([header]) is None


def test_two_traceparents_count_as_none() -> None:
    assert continued([GOOD, GOOD]) is None


def test_a_trace_that_begins_here_says_that_it_is_drawn_at_random() -> None:
    traces = [begun() for _ in range(100)]
    assert len({trace.trace_id for trace in traces}) == 100
    assert len({trace.span_id for trace in traces}) == 100
    assert all(FORM.fullmatch(trace.header) and trace.flags == 2 for trace in traces)


@in_loop
async def test_every_answer_names_its_trace() -> None:
    async with gateway() as g:
        order = {"market": "BTC-USD", "side": "sell", "type": "limit"}
        order |= {"price": "100", "quantity": "1"}
        went_on = await g.call("POST", "/v1/orders", order, traceparent=GOOD)
        assert went_on.status == 201
        assert went_on.headers["traceresponse"].startswith(f"00-{TRACE_ID}-")
        refused = await g.call("GET", "/no/such/path", traceparent=GOOD)
        assert refused.headers["traceresponse"].startswith(f"00-{TRACE_ID}-")
        for header in ({}, {"traceparent": "00-nonsense"}):
            begun_here = await g.call("GET", "/v1/time", **header)
            assert FORM.fullmatch(begun_here.headers["traceresponse"])


@in_loop
async def test_a_bug_is_logged_with_the_names_of_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with gateway() as g:
        g.core.submit = None  # type: ignore[assignment,method-assign]
        order = {"market": "BTC-USD", "side": "sell", "type": "limit"}
        order |= {"price": "100", "quantity": "1"}
        answer = await g.call("POST", "/v1/orders", order, traceparent=GOOD, X_Request_Id="mine")
        assert answer.status == 500
        (line,) = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert line.__dict__["request_id"] == "mine"
        assert line.__dict__["trace_id"] == TRACE_ID


@in_loop
async def test_what_operators_do_is_logged_and_what_traders_do_only_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    market = {"market": "ABC-USD", "base": "ABC", "quote": "USD"}
    market |= {"tick_size": "0.01", "lot_size": "0.1"}
    logger = "raft_exchange.gateway.request_log"
    async with gateway() as g:
        with caplog.at_level(logging.INFO, logger):
            await g.place("sell")
            await g.call("GET", "/v1/markets")
            made = await g.call("POST", "/v1/markets", market, traceparent=GOOD)
            again = await g.call("POST", "/v1/markets", market)
        assert (made.status, again.status) == (201, 409)
        (line,) = [one for one in caplog.records if one.name == logger]
        fields = line.__dict__
        assert (fields["method"], fields["path"], fields["status"]) == ("POST", "/v1/markets", 201)
        assert fields["request_id"] == made.headers["X-Request-Id"]
        assert fields["sequence"] == int(made.headers["X-Sequence"])
        assert fields["trace_id"] == TRACE_ID
        caplog.clear()
        with caplog.at_level(logging.DEBUG, logger):
            placed = await g.place("sell")
        (line,) = [one for one in caplog.records if one.name == logger]
        assert line.levelno == logging.DEBUG
        assert line.__dict__["sequence"] == int(placed.headers["X-Sequence"])
