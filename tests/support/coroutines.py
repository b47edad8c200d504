"""Run a coroutine function as a test, and hold it to leaving nothing behind."""

import asyncio
import functools
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

READY_S_MAX: Final = 30.0
POLL_S: Final = 0.005


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run `test` in a loop of its own; leaked tasks and unseen exceptions fail it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(_watched(test(*args, **kwargs)))

    return run


async def eventually(claim: Callable[[], bool]) -> None:
    """Wait until `claim()` holds; fail when it does not within 30 s."""
    async with asyncio.timeout(READY_S_MAX):
        while not claim():  # noqa: ASYNC110 -- a claim about anything has no event
            await asyncio.sleep(POLL_S)


async def seconds_taken(work: Awaitable[Any]) -> float:
    """How long `work` takes, whatever its result or exception."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await asyncio.gather(work, return_exceptions=True)
    return loop.time() - started_s


async def _watched(test: Coroutine[Any, Any, None]) -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    await test
    # What was cancelled or closed last gets a few turns to end.
    for _ in range(5):
        await asyncio.sleep(0)
    leaked = asyncio.all_tasks() - {asyncio.current_task()}
    assert not leaked, f"tasks were left running: {leaked}"
    gc.collect()  # an exception nobody saw is reported when its future is collected
    assert not unseen, f"exceptions went unseen: {unseen}"
