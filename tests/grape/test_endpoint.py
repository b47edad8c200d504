"""Grapes on real sockets: starting, finding, stopping, and where services are said to be."""

import asyncio
import socket

import pytest

from grape import (
    Grape,
    GrapeBusyError,
    GrapeError,
    GrapeSettings,
    Item,
    PeerFound,
    Ready,
    ServiceStored,
    parse_address,
    sign_item,
)
from grape.conductor import OPERATIONS_MAX
from grape.krpc import NAME_BYTES_MAX
from tests.support.coroutines import eventually, in_loop, seconds_taken
from tests.support.grapes import LOOPBACK, grapes, join, started, udp_socket

PRIVATE_KEY = bytes(range(32))


@in_loop
async def test_what_one_grape_is_told_another_finds() -> None:
    async with grapes(3) as (first, second, third):
        assert await first.announce("svc", 1337) == 2
        for grape in (first, second, third):
            assert await grape.lookup("svc") == [(LOOPBACK, 1337)]
        assert await third.lookup(b"nobody") == []


@in_loop
async def test_items_are_found_by_their_target() -> None:
    async with grapes(2) as (first, second):
        target = await first.put(Item(v=b"hello world"))
        found = await second.get(target)
        assert found is not None
        assert found.item.v == b"hello world"
        assert await second.get(bytes(20)) is None
        assert await second.get(b"no target") is None


@in_loop
async def test_a_refused_item_says_why() -> None:
    async with grapes(2) as (first, second):
        await first.put(sign_item(PRIVATE_KEY, b"v2", seq=2))
        with pytest.raises(GrapeError, match=r"^302 sequence number less than current$"):
            await second.put(sign_item(PRIVATE_KEY, b"v1", seq=1))
        with pytest.raises(GrapeError, match=r"^301 CAS mismatch"):
            await second.put(sign_item(PRIVATE_KEY, b"v3", seq=3), cas=1)
        with pytest.raises(GrapeError, match=r"^All queries failed$"):
            await second.put(Item(v=b"v", k=bytes(32), seq=1, sig=bytes(64)))


@in_loop
async def test_a_lone_grape_serves_its_own_services() -> None:
    async with grapes(1) as (lone,):
        assert await lone.announce("svc", 1337) == 1
        assert await lone.lookup("svc") == [(LOOPBACK, 1337)]


@in_loop
async def test_a_grape_on_all_interfaces_never_publishes_the_address_of_none() -> None:
    """Bound to 0.0.0.0, a service is where the asker sees us."""
    async with grapes(1, dht_host="0.0.0.0") as (lone,):
        await lone.announce("svc", 1337)
        assert await lone.lookup("svc") == [(LOOPBACK, 1337)]
        bootstrap = [f"{LOOPBACK}:{lone.dht_address[1]}"]
        other = await started(GrapeSettings(dht_host="127.0.0.9", bootstrap=bootstrap))
        assert await other.lookup("svc") == [(LOOPBACK, 1337)]
        await lone.announce("svc", 1337)
        assert await lone.lookup("svc") == [(LOOPBACK, 1337)]
        await other.stop()


@in_loop
async def test_a_grape_may_be_told_where_its_services_are() -> None:
    async with grapes(1, own_host="127.0.0.7") as (lone,):
        await lone.announce("svc", 1337)
        assert await lone.lookup("svc") == [("127.0.0.7", 1337)]


@in_loop
async def test_both_ports_are_free_at_once_after_a_stop() -> None:
    async with grapes(2) as (first, second):
        for _ in range(5):
            port, api_port = second.dht_address[1], parse_address(second.api_url[7:])[1]
            await second.stop()
            second = await started(
                GrapeSettings(dht_port=port, api_port=api_port, bootstrap=[join(first.dht_address)])
            )
        await second.stop()


@in_loop
async def test_a_stopped_grape_may_be_started_again() -> None:
    async with grapes(1) as (first,):
        second = Grape(GrapeSettings(bootstrap=[join(first.dht_address)], api_port=0))
        for _ in range(2):
            await second.start()
            assert await second.announce("svc", 1337) == 1
            await second.stop()
        assert await first.lookup("svc") == [(LOOPBACK, 1337)]


@in_loop
async def test_after_another_grape_restarted_the_very_next_announcement_succeeds() -> None:
    async with grapes(2) as (first, second):
        assert await first.announce("svc", 1337) == 1
        port = second.dht_address[1]
        await second.stop()
        reborn = await started(GrapeSettings(dht_port=port))  # it knows nobody
        assert await first.announce("svc", 1337) == 1
        assert await reborn.lookup("svc") == [(LOOPBACK, 1337)]
        await reborn.stop()


@in_loop
async def test_a_dead_bootstrap_entry_costs_less_than_a_second() -> None:
    with udp_socket() as dead:
        bootstrap = [join(dead.getsockname())]
        async with Grape(GrapeSettings(bootstrap=bootstrap)) as grape:
            assert await seconds_taken(grape.announce("svc", 1)) < 1.0
            assert await seconds_taken(grape.lookup("svc")) < 1.0


@in_loop
async def test_bootstrap_entries_may_be_names_and_names_may_not_resolve() -> None:
    async with grapes(1) as (first,):
        bootstrap = ["no-such-host.invalid:1", f"localhost:{first.dht_address[1]}"]
        second = await started(GrapeSettings(bootstrap=bootstrap))
        await first.announce("svc", 1337)
        assert await second.lookup("svc") == [(LOOPBACK, 1337)]
        await second.stop()


@in_loop
async def test_a_busy_port_is_said_and_nothing_stays_bound() -> None:
    async with grapes(1) as (first,):
        taken = parse_address(first.api_url[7:])[1]
        second = Grape(GrapeSettings(api_port=taken))
        with pytest.raises(OSError, match="in use"):
            await second.start()
        third = Grape(GrapeSettings(dht_port=first.dht_address[1]))
        with pytest.raises(OSError, match="in use"):
            await third.start()


@in_loop
async def test_whoever_waits_is_told_when_the_grape_stops() -> None:
    with udp_socket() as dead:
        grape = Grape(GrapeSettings(bootstrap=[join(dead.getsockname())]))
        await grape.start()
        waiting = asyncio.create_task(grape.lookup("svc"))
        await asyncio.sleep(0)
        await grape.stop()
        with pytest.raises(GrapeBusyError):
            await waiting
        with pytest.raises(GrapeBusyError):
            await grape.lookup("svc")


@in_loop
async def test_one_of_two_that_wait_for_a_lookup_may_give_up() -> None:
    async with grapes(2) as (first, second):
        await first.announce("svc", 1337)
        one, two = (asyncio.create_task(second.lookup("svc")) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert await two == [(LOOPBACK, 1337)]
        with pytest.raises(asyncio.CancelledError):
            await one


@in_loop
async def test_the_operations_under_way_are_bounded() -> None:
    with udp_socket() as dead:
        async with Grape(GrapeSettings(bootstrap=[join(dead.getsockname())])) as grape:
            names = (f"svc{i}" for i in range(OPERATIONS_MAX + 50))
            results = await asyncio.gather(*map(grape.lookup, names), return_exceptions=True)
            refused = [item for item in results if isinstance(item, GrapeBusyError)]
            assert 50 <= len(refused) <= 51  # the first look around is one, too
            assert results.count([]) == len(results) - len(refused)


@in_loop
async def test_names_beyond_the_bound_are_nowhere() -> None:
    async with grapes(2) as (first, _):
        assert await first.lookup("n" * (NAME_BYTES_MAX + 1)) == []
        with pytest.raises(GrapeError, match=r"^No nodes to query$"):
            await first.announce("n" * (NAME_BYTES_MAX + 1), 1)
        with pytest.raises(ValueError, match="70000 is not a port"):
            await first.announce("svc", 70_000)


@in_loop
async def test_events_tell_what_happens() -> None:
    async with grapes(2) as (first, second):
        heard: list[object] = []
        second.add_listener(heard.append)
        await first.announce("svc", 1337)
        await second.lookup("svc")
        assert ServiceStored(b"svc", (LOOPBACK, 1337)) in heard
        assert PeerFound(b"svc", (LOOPBACK, 1337)) in heard


@in_loop
async def test_a_lone_grape_is_ready_at_once() -> None:
    heard: list[object] = []
    grape = Grape()
    grape.add_listener(heard.append)
    await grape.start()
    assert heard == [Ready()]
    await grape.stop()
    await grape.stop()


@in_loop
async def test_garbage_on_the_socket_is_survived() -> None:
    async with grapes(2) as (first, second):
        with udp_socket() as hostile:
            for data in (b"", b"x" * 65_000, b"d1:y1:qe", b"d" * 1_000, b"i1e"):
                hostile.sendto(data, first.dht_address)
        await first.announce("svc", 1337)
        assert await second.lookup("svc") == [(LOOPBACK, 1337)]


@in_loop
async def test_an_asker_gets_its_answer_from_the_port_it_asked() -> None:
    async with grapes(1) as (grape,):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            asker.bind((LOOPBACK, 0))
            asker.sendto(b"d1:ade1:q4:ping1:t1:x1:y1:qe", grape.dht_address)
            loop = asyncio.get_running_loop()
            data, source = await loop.sock_recvfrom(asker, 1_000)
            assert data == b"d1:rd2:id20:%be1:t1:x1:y1:re" % grape.node_id
            assert source == grape.dht_address


@in_loop
async def test_grapes_of_one_process_share_nothing() -> None:
    async with grapes(1) as (one,), grapes(1) as (other,):
        await one.announce("svc", 1)
        assert await other.lookup("svc") == []
        await eventually(lambda: not one.contacts)


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:0", "host:65536", "host:1x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        parse_address(text)
