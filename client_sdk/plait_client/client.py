"""The client: opens documents, and holds what they share."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from aiohttp import ClientSession
from msgspec import Struct
from yarl import URL

from plait_client import operation
from plait_client.batch import Batch, save_by_rule
from plait_client.context import Context
from plait_client.document import Document
from plait_client.documents import Documents
from plait_client.draft import own_patch, own_value
from plait_client.errors import OutboxUnusable, PlaitError
from plait_client.events import Counters, Events, Retrying, Settled
from plait_client.live.live import Live, State
from plait_client.operation import Operation
from plait_client.replica.edit import Patch
from plait_client.replica.replica import Replica
from plait_client.resolvers import Resolver
from plait_client.saved import saved_of
from plait_client.saving.outbox import Outbox
from plait_client.unsaved import Unsaved
from plait_client.wire import request
from plait_client.wire.retry import Clock, Retry, RetryQuota, Sleep, Uniform
from plait_client.wire.transport import Transport
from plait_merge import ABSENT, Absent, Inapplicable, Json, MalformedPatch

Shape = TypeVar("Shape")


class Entry(Struct, frozen=True):
    """A document in a list; `document` is its name, the times are RFC 3339."""

    document: str
    revision: int
    created: str
    updated: str


class Rules(Struct, frozen=True):
    """What holds for the documents of a collection, as the server's README says; revision 0: nothing is set.

    `policy` and `schema` are None where there is none; `merge` is for edits that do not say how; `retention`
    says which revisions are kept, None: all.
    """

    collection: str
    revision: int
    policy: Any
    schema: Any
    merge: str
    author: str | None = None
    at: str | None = None
    retention: Any = None


class Server(Struct, frozen=True):
    """What the server is and can do: detect, never guess."""

    name: str
    version: str
    epoch: str
    features: list[str]
    limits: dict[str, float]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance: a monotonic clock, the wall clock (both in seconds), sleep, and a draw between two
    numbers."""

    clock: Clock = time.monotonic
    now: Clock = time.time
    sleep: Sleep = asyncio.sleep
    uniform: Uniform = random.uniform


class AsyncPlait:
    """A client of one server, to be opened with `async with`. It belongs to one event loop.

    `token` says who you are, `author` whose name stands in the history where the server believes it. With
    `outbox`, the path of a file, edits survive a crash of this program and wait for the server as long as it
    takes. `on_retry`, `on_conflict` and `on_settled` are called as things happen and must not block;
    `counters` are for metrics of your own.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        author: str | None = None,
        retry: Retry | None = None,
        outbox: str | os.PathLike[str] | Outbox | None = None,
        on_retry: Callable[[Retrying], object] | None = None,
        on_conflict: Callable[[PlaitError], object] | None = None,
        on_settled: Callable[[Settled], object] | None = None,
        session: ClientSession | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Nothing is opened yet. `url` is the server's root, such as http://localhost:8080.

        A `session` is used instead of one of the client's own and stays yours to close; its base URL has to
        be `url`, and its headers say who you are. Raises ValueError for a URL that is none or has a path, and
        for a token or author beside a session.
        """
        if session is not None and (token is not None or author is not None):
            raise ValueError("a session brings its own headers: token and author belong there")
        self._url = _root_of(url)
        self._headers = {
            **({} if token is None else {"Authorization": f"Bearer {token}"}),
            **({} if author is None else {"Plait-Author": author}),
        }
        self._retry = retry or Retry()
        self._stated_outbox = outbox
        self._events = Events(on_retry, on_conflict, on_settled)
        self._given_session = session
        self._surroundings = surroundings or Surroundings()
        self._quota = RetryQuota()
        self._ends = AsyncExitStack()
        self._context: Context | None = None
        self.counters = Counters()
        """How often what happened since the client was made."""

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> Self:
        """Open the client, unless `async with` does. No request is made, but what an outbox holds is sent.

        Raises OutboxUnusable.
        """
        if self._context is not None:
            raise RuntimeError("The client is open.")
        async with AsyncExitStack() as ends:
            session = self._given_session
            if session is None:
                session = await ends.enter_async_context(ClientSession(self._url, headers=self._headers))
            world = self._surroundings
            transport = Transport(
                session,
                self._retry,
                self._quota,
                events=self._events,
                counters=self.counters,
                clock=world.clock,
                now=world.now,
                sleep=world.sleep,
                uniform=world.uniform,
            )
            outbox = self._stated_outbox
            if outbox is not None and not isinstance(outbox, Outbox):
                outbox = await Outbox.open(outbox, now=world.now)
                ends.push_async_callback(outbox.close)
            live = Live(transport, client="plait-python", on_state=self._live_is)
            context = Context(transport, live, self._events, Unsaved(outbox), outbox, world.now)
            Documents(context)
            self._context = context
            ends.push_async_callback(self._end)
            await self._restore(context)
            self._ends = ends.pop_all()
        return self

    async def close(self) -> None:
        """Close the client. Edits that nobody waits for are saved first, as far as the server can be reached
        and no longer than the policy's deadline; those in an outbox stay there."""
        await self._ends.aclose()

    # Documents

    async def doc(self, name: str, *, default: Json | Absent = ABSENT, live: bool = False) -> Document:
        """Open a document, `collection/id`: the newest there is, or what the outbox holds of it.

        A document that is not there is created as `default`, if that is given. With `live=True` others'
        edits come in by themselves from now on. One name is one object in a client. Raises NotFound, Deleted,
        and as any request does; ValueError for what is no name.
        """
        document = await self._opened().documents.open(name, default)
        if live:
            document._follow()
        return document

    async def create(self, name: str, value: Json) -> Document:
        """Create a document: `collection/id`, or a collection, for an id of the server's choice.

        Raises PreconditionFailed where it is there already, InvalidPatch for what no document may be.
        """
        if "/" not in name:
            return await self._create_somewhere(name, value)
        async with self._opened().documents.opening(request.check_name(name)) as document:
            await document.put(value, if_match="missing")
        return document

    @asynccontextmanager
    async def batch(
        self, *, message: str | None = None, on_conflict: Resolver | None = None
    ) -> AsyncGenerator[Batch]:
        """Edit several documents at once: on leaving, all of it is saved, or nothing.

        An exception inside discards it all. Raises BatchConflict where edits overlap others', unless a
        resolver decides, and as `Batch.save` does.
        """
        batch = Batch(self._opened(), message)
        yield batch
        await save_by_rule(batch, on_conflict)

    async def submit(
        self, name: str, patch: Patch, *, base: int | None = None, message: str | None = None
    ) -> Operation:
        """Hand in an edit of a document that need not be open, as `Document.submit` does.

        `patch` is made on revision `base`, or on whatever is there when its turn comes if None.
        """
        body = request.edit_body(own_patch(patch, extended=True), base=base, message=message)
        return await operation.submit(self._opened(), name, body, message)

    async def operation(self, id: str) -> Operation:
        """Find an edit that was handed in, by this process or another. Raises NotFound."""
        return await operation.find(self._opened(), id)

    async def documents(self, collection: str) -> AsyncIterator[Entry]:
        """Iterate over the documents of a collection, by id."""
        cursor: str | None = None
        while True:
            answer = await self._opened().transport.send(request.listing(collection, cursor))
            page = answer.read_as(_Listing)
            for entry in page.documents:
                yield entry
            cursor = page.cursor
            if cursor is None:
                return

    async def rules(self, collection: str) -> Rules:
        """Read what holds for the documents of a collection."""
        answer = await self._opened().transport.send(request.rules(collection))
        return answer.read_as(Rules)

    async def set_rules(
        self,
        collection: str,
        *,
        if_match: int,
        policy: Json = None,
        schema: Json = None,
        merge: Literal["auto", "strict", "theirs", "yours"] = "auto",
        retention: Json = None,
    ) -> Rules:
        """Say what holds for the documents of a collection from now on: all of it, what is left out is unset.

        `retention` is {"revisions": n, "days": d, "labelled": bool}: a revision is kept while it is one of
        the newest n, or younger than that, or has a label; None keeps all. `if_match` is the revision of the
        rules that are replaced, 0 where there are none. Raises PreconditionFailed if others set them since,
        InvalidPatch for a policy, a schema or a retention that is none.
        """
        settings: dict[str, Json] = {"policy": policy, "schema": schema, "merge": merge}
        if retention is not None:
            settings["retention"] = retention
        write = request.set_rules(collection, settings, if_match)
        answer = await self._opened().transport.send(write)
        return answer.read_as(Rules)

    async def server(self) -> Server:
        """Ask what the server is and can do."""
        answer = await self._opened().transport.send(request.features())
        return answer.read_as(Server)

    @property
    def outbox(self) -> Unsaved:
        """The edits that could not be saved: `failed()`, `discard(key)`."""
        return self._opened().unsaved

    @property
    def live_state(self) -> State:
        """Whether live updates come in: "connected", "reconnecting", or "offline" where nobody wants any."""
        return self._opened().live.state

    def retry_now(self) -> None:
        """Try at once what waits in the outbox: the network may be back."""
        for document in self._opened().documents.all():
            document._retry_now()

    # Inside

    def _opened(self) -> Context:
        if self._context is None:
            raise RuntimeError("The client is not open: use `async with`.")
        return self._context

    async def _create_somewhere(self, collection: str, value: Json) -> Document:
        write = request.create(collection, own_value(value))
        context = self._opened()
        answer = await context.transport.send(write)
        body: Any = answer.json()
        document = context.documents.new(request.check_name(body["document"]))
        await document._learn(saved_of(answer, request.key_of(write)))
        context.documents.keep(document)
        return document

    async def _restore(self, context: Context) -> None:
        """Go on with what an outbox holds. Raises OutboxUnusable."""
        outbox = context.outbox
        if outbox is None:
            return
        try:
            for failed in await outbox.failed():
                error = context.documents.settlement_of(failed.document).restored(failed)
                context.unsaved.restore(failed, error)
            for name in await outbox.names():
                stored = await outbox.load(name)
                if stored is not None:
                    document = context.documents.new(name, Replica.restore(stored.state))
                    context.documents.keep(document)
                    document._restored(stored)
        except (Inapplicable, MalformedPatch, ValueError, LookupError, TypeError) as error:
            raise OutboxUnusable(f"What the outbox holds makes no sense: {error}.") from error

    def _live_is(self, state: State) -> None:
        if state == "connected" and self._context is not None:
            self.retry_now()

    async def _end(self) -> None:
        """End everything that goes on, in an order that loses nothing."""
        context = self._opened()
        documents = context.documents.all()
        try:
            if context.outbox is None:
                await asyncio.gather(*[_drained(each, self._retry.deadline_s) for each in documents])
        finally:
            context.is_closed = True
            self._context = None
            for document in documents:
                await document._close()
            await context.live.close()
            while context.tasks:
                await asyncio.gather(*context.tasks, return_exceptions=True)


async def _drained(document: Document, timeout_s: float) -> None:
    with suppress(PlaitError):
        await document.saved(timeout_s)


class _Listing(Struct, frozen=True):
    documents: list[Entry]
    cursor: str | None = None


def _root_of(url: str) -> URL:
    root = URL(url)
    if root.scheme not in ("http", "https") or not root.host:
        raise ValueError(f"{url!r} is no URL of a server, such as http://localhost:8080")
    if root.path not in ("", "/") or root.query_string or root.fragment:
        raise ValueError(f"{url!r} has a path: give the server's root")
    return root.origin()
