"""What is new in a document, asked for: one round of polling."""

from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Struct

from plait_client.errors import Deleted, TransportError
from plait_client.live import frame as frames
from plait_client.live.follower import CaughtUp, Event, Gap, Subscription
from plait_client.wire.request import features, history, read
from plait_client.wire.transport import Transport

REVISIONS_MAX: Final = 1_000
"""Who missed more than that gets the whole document."""


class _Entry(Struct, frozen=True):
    revision: frames.Revision
    author: str
    at: str
    patch: list[dict[str, Any]]
    key: str | None = None


class _Page(Struct, frozen=True):
    revisions: list[_Entry]
    cursor: str | None = None


class _Tombstone(Struct, frozen=True):
    revision: frames.Revision


class _Features(Struct, frozen=True):
    epoch: str


async def poll(transport: Transport, name: str, subscription: Subscription) -> list[Event]:
    """Ask for what comes after where the copy is, and move it there. The last event is CaughtUp.

    Raises a PlaitError; the copy is where it was then. Costs one request where nothing is new, which is
    answered without a body, and one more for each page of history where something is.
    """
    known = Subscription(subscription.revision, subscription.epoch)
    try:
        told = await _look(transport, name, known)
    except (Gap, ValueError) as error:
        raise TransportError(f"The history of {name} makes no sense: {error}") from error
    subscription.revision, subscription.epoch, subscription.caught_up = known.revision, known.epoch, True
    return told


async def _look(transport: Transport, name: str, copy: Subscription) -> list[Event]:
    snapshot, epoch = await _head(transport, name, copy)
    useless = _why_useless(copy, epoch, snapshot)
    if useless is not None:
        copy.forget(useless)
        if snapshot is None:
            snapshot, epoch = await _head(transport, name, copy)
    if copy.revision is None:
        return _taken(copy, epoch, snapshot)
    # History may be ahead of what reading the document says: then there is nothing new.
    if snapshot is None or snapshot.rev <= copy.revision:
        return _taken(copy, epoch, None)
    missed = await _missed(transport, name, copy.revision)
    if isinstance(missed, frames.Rev):
        return _taken(copy, epoch, missed)
    copy.forget(missed)
    return _taken(copy, epoch, snapshot)


def _why_useless(copy: Subscription, epoch: str, snapshot: frames.Snapshot | None) -> str | None:
    """Say why nothing can lead on from the copy."""
    if copy.revision is None:
        return None
    if copy.epoch is not None:
        return None if copy.epoch == epoch else "epoch"
    return "unknown" if snapshot is not None and snapshot.rev < copy.revision else None


def _taken(copy: Subscription, epoch: str, news: frames.Rev | frames.Snapshot | None) -> list[Event]:
    """Move the copy on, and say that it is where the document is."""
    told = None if news is None else copy.take(news, epoch)
    assert copy.revision is not None
    caught_up = CaughtUp(copy.revision)
    copy.epoch, copy.caught_up = epoch, True
    return [caught_up] if told is None else [told, caught_up]


async def _head(transport: Transport, name: str, copy: Subscription) -> tuple[frames.Snapshot | None, str]:
    """Read the document and its epoch; no document where it is the one that is known."""
    etag = None if copy.revision is None else f'"{copy.revision}"'
    try:
        answer = await transport.send(read(name, etag))
    except Deleted as error:
        tombstone = msgspec.convert(error.problem, _Tombstone)
        snapshot = frames.Snapshot(doc=name, rev=tombstone.revision, deleted=True)
        return snapshot, msgspec.convert((await transport.send(features())).json(), _Features).epoch
    epoch = answer.headers.get("Plait-Epoch")
    if epoch is None:
        raise ValueError("an answer does not say its epoch")
    if answer.status == 304 and etag is not None:
        return None, epoch
    if answer.revision is None:
        raise ValueError("an answer does not say its revision")
    return frames.Snapshot(doc=name, rev=answer.revision, value=answer.json(), deleted=False), epoch


async def _missed(transport: Transport, name: str, after: int) -> frames.Rev | str:
    """Read the revisions after one as one frame; or say why that cannot be."""
    newest_first: list[_Entry] = []
    cursor: str | None = None
    while True:
        page = msgspec.convert((await transport.send(history(name, cursor))).json(), _Page)
        newest_first += [entry for entry in page.revisions if entry.revision > after]
        if newest_first and newest_first[-1].revision == after + 1:
            return _rev(name, after, newest_first[::-1])
        if len(newest_first) >= REVISIONS_MAX:
            return "lagging"
        if page.cursor is None or not page.revisions or page.cursor == cursor:
            return "compacted"
        cursor = page.cursor


def _rev(name: str, prev: int, entries: list[_Entry]) -> frames.Rev:
    parts = [frames.Part(rev=each.revision, author=each.author, at=each.at, key=each.key) for each in entries]
    patch = list(chain.from_iterable(each.patch for each in entries))
    return frames.Rev(doc=name, prev=prev, rev=entries[-1].revision, patch=patch, parts=parts)
