"""One document followed where there can be no WebSocket: as server-sent events, or by asking.

Events are the better way. Where they do not come through either (something in between answers itself, or
keeps them back) the document is asked for every few seconds, and events are tried again after a while.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import ClientError

from plait_client.errors import DeadlineExceeded, RateLimited, RetryQuotaSpent, TransportError
from plait_client.live.follower import CaughtUp, Lost, OneWay, SentAway, Signal, Subscription, Told
from plait_client.live.frame import MalformedFrame
from plait_client.live.polling import poll
from plait_client.live.pulse import Pulse, Silent
from plait_client.live.reconnect import Losses, Reconnect
from plait_client.live.sse import NoEvents, hear_events
from plait_client.wire.retry import Uniform
from plait_client.wire.transport import Transport

EVENTS_TIMEOUT_S: Final = 5.0
"""Until the first event: later means that something keeps them back."""
POLL_S: Final = (1.0, 3.0)
"""Between two rounds of polling, at random."""
POLLS_PER_S: Final = 10
"""Of one client, however many documents it follows."""
EVENTS_MAX: Final = 20
"""So many documents are followed by events at a time, and the others by polling: each takes a connection,
and those of a session are limited."""
BETTER_WAY_S: Final = 300.0

FOR_NOW: Final = (TransportError, RateLimited, DeadlineExceeded, RetryQuotaSpent)
"""Errors that say nothing about the document."""


class Shares:
    """What the streams of one client share."""

    def __init__(self) -> None:
        self.events = asyncio.Semaphore(EVENTS_MAX)
        self.polling = 0

    def poll_wait_s(self, uniform: Uniform) -> float:
        """Draw the time between two rounds of one of them."""
        return max(uniform(*POLL_S), self.polling / POLLS_PER_S)


class Stream:
    """One document. `deliver` hears what is told of it, and of losses."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        subscription: Subscription,
        reconnect: Reconnect,
        shares: Shares,
        deliver: Callable[[Signal], None],
    ) -> None:
        self._transport = transport
        self._document = OneWay(name, subscription)
        self._shares = shares
        self._deliver = deliver
        self._losses = Losses(reconnect, transport.clock, transport.uniform)

    async def run(self) -> None:
        """Follow until it is cancelled. Raises the PlaitError that ends it: NotFound, Forbidden, ..."""
        while True:
            if not self._shares.events.locked():
                async with self._shares.events:
                    await self._hear()
            self._shares.polling += 1
            try:
                await self._ask()
            finally:
                self._shares.polling -= 1

    async def _hear(self) -> None:
        """Follow by events, until that turns out to be impossible."""
        while True:
            pulse = Pulse(self._transport.clock, self._transport.sleep, EVENTS_TIMEOUT_S)
            reason = "The events ended."
            try:
                await pulse.guard(hear_events(self._transport.session, self._document, pulse, self._heard))
            except Silent as error:
                self._lose(str(error))
                return
            except NoEvents as error:
                self._lose(str(error))
                if not (error.is_own and (error.status == 429 or error.status >= 500)):
                    return
            except (MalformedFrame, ClientError, OSError) as error:
                reason = str(error) or type(error).__name__
            self._lose(reason)
            await self._pause()

    async def _ask(self) -> None:
        """Follow by polling, for a while."""
        transport, document = self._transport, self._document
        until = transport.clock() + BETTER_WAY_S
        while transport.clock() < until:
            try:
                told = await poll(transport, document.name, document.subscription)
            except FOR_NOW as error:
                self._lose(error.detail)
                await self._pause()
                continue
            for event in told:
                if not self._losses.is_connected or not isinstance(event, CaughtUp) or len(told) > 1:
                    self._heard(Told(document.name, event))
            await transport.sleep(self._shares.poll_wait_s(transport.uniform))

    def _heard(self, signal: Signal) -> None:
        if isinstance(signal, SentAway):
            self._losses.sent_away(signal)
            return
        if not self._losses.is_connected:
            self._losses.connected()
        self._deliver(signal)

    def _lose(self, reason: str) -> None:
        if self._losses.lost():
            self._deliver(Told(self._document.name, Lost(reason)))

    async def _pause(self) -> None:
        await self._transport.sleep(self._losses.wait_s())
