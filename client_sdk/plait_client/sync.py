"""The client for programs without an event loop: the same calls, without `await`.

    with Plait("http://localhost:8080") as plait:
        doc = plait.doc("orders/7")
        with doc.edit(message="raise budget") as draft:
            draft["budget"] = 120

Works in plain programs, in threads, in notebooks and inside a running loop: the asynchronous client runs on
a loop in the background. Listeners, resolvers and the function of `update` are called on that loop's thread.

Made by client_sdk/write_sync.py from the asynchronous classes: change those, and run it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from plait_client import client, conflict, document, unsaved
from plait_client.changes import Change, Revision
from plait_client.client import Entry, Server, Surroundings
from plait_client.errors import PlaitError
from plait_client.events import Counters, Retrying, Settled
from plait_client.live.live import State
from plait_client.portal import Portal
from plait_client.replica.edit import Edit, Patch
from plait_client.resolvers import Resolver
from plait_client.saved import Saved
from plait_client.saving.outbox import Outbox
from plait_client.saving.saver import SyncState
from plait_client.unsaved import UnsavedEdit
from plait_client.wire.retry import Retry
from plait_merge import ABSENT, Absent, Json


class MergeConflict(conflict.MergeConflict):
    """Your edit overlaps what others did, as in `plait_client`; here `save` waits."""

    _portal: Portal

    def save(self, message: str | None = None) -> Saved:  # type: ignore[override]
        """Save the choices and the clean part of the edit, as an edit against what it clashed with.

        Raises ValueError while a field is undecided, MergeConflict where somebody changed the same places
        again in the meantime (decided fields stay decided: the new conflict holds only the new clashes), and
        what any edit raises. Once it is saved, saving it again gives what came of it.
        """
        saved: Saved = self._portal.run(super().save(message))
        return saved


class Plait:
    """A client of one server, to be opened with `with`. It belongs to one event loop.

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
        surroundings: Surroundings | None = None,
    ) -> None:
        """Nothing is opened yet. `url` is the server's root; raises ValueError for what is none."""
        self._inner = client.AsyncPlait(
            url,
            token=token,
            author=author,
            retry=retry,
            outbox=outbox,
            on_retry=on_retry,
            on_conflict=on_conflict,
            on_settled=on_settled,
            surroundings=surroundings,
        )
        self._portal = Portal(_translate)
        self.counters: Counters = self._inner.counters

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Open the client, unless `with` does. No request is made, but what an outbox holds is sent.

        Raises OutboxUnusable.
        """
        self._portal.open()
        try:
            self._portal.run(self._inner.open())
        except BaseException:
            self._portal.close()
            raise
        return self

    def close(self) -> None:
        """Close the client. Edits that nobody waits for are saved first, as far as the server can be reached
        and no longer than the policy's deadline; those in an outbox stay there."""
        try:
            self._portal.run(self._inner.close())
        finally:
            self._portal.close()

    def doc(self, name: str, *, default: Json | Absent = ABSENT, live: bool = False) -> Document:
        """Open a document, `collection/id`: the newest there is, or what the outbox holds of it.

        A document that is not there is created as `default`, if that is given. With `live=True` others'
        edits come in by themselves from now on. One name is one object in a client. Raises NotFound, Deleted,
        and as any request does; ValueError for what is no name.
        """
        result: Document = self._portal.run(self._inner.doc(name, default=default, live=live))
        return result

    def create(self, name: str, value: Json) -> Document:
        """Create a document: `collection/id`, or a collection, for an id of the server's choice.

        Raises PreconditionFailed where it is there already, InvalidPatch for what no document may be.
        """
        result: Document = self._portal.run(self._inner.create(name, value))
        return result

    def documents(self, collection: str) -> Iterator[Entry]:
        """Iterate over the documents of a collection, by id."""
        result: Iterator[Entry] = self._portal.iterate(self._inner.documents(collection))
        return result

    def server(self) -> Server:
        """Ask what the server is and can do."""
        result: Server = self._portal.run(self._inner.server())
        return result

    @property
    def outbox(self) -> Unsaved:
        """The edits that could not be saved: `failed()`, `discard(key)`."""
        result: Unsaved = self._portal.call(lambda: self._inner.outbox)
        return result

    @property
    def live_state(self) -> State:
        """Whether live updates come in: "connected", "reconnecting", or "offline" where nobody wants any."""
        result: State = self._portal.call(lambda: self._inner.live_state)
        return result

    def retry_now(self) -> None:
        """Try at once what waits in the outbox: the network may be back."""
        self._portal.call(lambda: self._inner.retry_now())


class Document:
    """A document as this client has it. `Plait.doc` opens one; it stays the same object.

    What is shown is what the server has confirmed with your own edits on top, so an edit is there as soon as
    it is made. Others' edits arrive with every save of yours, by `refresh`, and by themselves while somebody
    iterates over `changes` or where the document was opened with `live=True`.
    """

    def __init__(self, inner: document.Document, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def value(self) -> Json:
        """The document as it is shown; ABSENT where it is deleted, or not there yet.

        It is shared with what will be shown later: do not change it, use `edit`.
        """
        result: Json = self._portal.call(lambda: self._inner.value)
        return result

    @property
    def exists(self) -> bool:
        result: bool = self._portal.call(lambda: self._inner.exists)
        return result

    @property
    def revision(self) -> int:
        """The newest revision that is known here; your edits that are not saved are on top of it."""
        result: int = self._portal.call(lambda: self._inner.revision)
        return result

    @property
    def etag(self) -> str:
        """The entity tag of that revision, for If-Match."""
        result: str = self._portal.call(lambda: self._inner.etag)
        return result

    @property
    def author(self) -> str | None:
        """Who wrote that revision; None where that was not told, as after a save of your own."""
        result: str | None = self._portal.call(lambda: self._inner.author)
        return result

    @property
    def updated_at(self) -> str | None:
        """When it was written, as RFC 3339; None where that was not told."""
        result: str | None = self._portal.call(lambda: self._inner.updated_at)
        return result

    @property
    def last_save(self) -> Saved | None:
        """What became of the last edit that was saved."""
        result: Saved | None = self._portal.call(lambda: self._inner.last_save)
        return result

    @property
    def pending(self) -> tuple[Edit, ...]:
        """Your edits that are shown and not saved yet, the oldest first."""
        result: tuple[Edit, ...] = self._portal.call(lambda: self._inner.pending)
        return result

    @property
    def sync_state(self) -> SyncState:
        """ "saved", "saving", "reconnecting" (your edits wait in the outbox) or "unsaved" (they wait because
        the server refuses who you are, or for a decision of yours: see `unsaved`)."""
        result: SyncState = self._portal.call(lambda: self._inner.sync_state)
        return result

    @property
    def trouble(self) -> PlaitError | None:
        """Why the server cannot be reached; None: it can, as far as is known."""
        result: PlaitError | None = self._portal.call(lambda: self._inner.trouble)
        return result

    @property
    def unsaved(self) -> tuple[UnsavedEdit, ...]:
        """Edits that are not in the document and wait for a decision: conflicts, refusals."""
        result: tuple[UnsavedEdit, ...] = self._portal.call(lambda: self._inner.unsaved)
        return result

    def saved(self, timeout_s: float | None = None) -> None:
        """Wait until everything typed so far is saved, or has failed (see `unsaved`).

        Raises DeadlineExceeded after `timeout_s`.
        """
        self._portal.run(self._inner.saved(timeout_s))

    @contextmanager
    def edit(
        self, *, message: str | None = None, on_conflict: Resolver | None = None, wait: bool = True
    ) -> Iterator[Any]:
        """Change a plain copy of the document; on leaving, what changed is saved, merged with others' edits.

        An exception inside discards the copy; without a change nothing is sent. With `wait=False` leaving
        does not wait: what goes wrong is then told to `on_conflict`, the client's listeners and `unsaved`.

        Raises MergeConflict (with `draft`, your copy) where others changed the same places, unless a resolver
        decides; InvalidPatch for what is no JSON or beyond a limit; Deleted, NotFound; TransportError,
        DeadlineExceeded, RateLimited, RetryQuotaSpent where the server cannot be reached and there is no
        outbox: the edit is then given up, and `outcome_unknown` says if it may have arrived. Costs a copy
        and a comparison of the document; `set` and `patch` cost what the edit does.
        """
        with self._portal.entered(
            self._inner.edit(message=message, on_conflict=on_conflict, wait=wait)
        ) as inside:
            yield inside

    def patch(
        self,
        patch: Patch,
        *,
        base: int | None = None,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Save a JSON Patch, made on what is shown, or on revision `base`. O(edit).

        Raises as `edit` does, TestFailed too. Made on an older revision it goes straight to the server, after
        what is pending, and never to the outbox; BaseUnknown where the server has no such revision.
        """
        result: Saved = self._portal.run(
            self._inner.patch(patch, base=base, message=message, on_conflict=on_conflict, wait=wait)
        )
        return result

    def set(
        self,
        pointer: str,
        value: Json,
        *,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Set one place: a member that is new or there, an element that is there, or "-" for the end of an
        array. O(edit). Raises as `edit` does, ValueError for what is no pointer."""
        result: Saved = self._portal.run(
            self._inner.set(pointer, value, message=message, on_conflict=on_conflict, wait=wait)
        )
        return result

    def remove(
        self,
        pointer: str,
        *,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Remove a member or an element. O(edit). Raises as `edit` does."""
        result: Saved = self._portal.run(
            self._inner.remove(pointer, message=message, on_conflict=on_conflict, wait=wait)
        )
        return result

    def put(
        self,
        value: Json,
        *,
        if_match: int | str | None = None,
        message: str | None = None,
        on_conflict: Resolver | None = None,
    ) -> Saved:
        """Make the document this value.

        What differs from what is shown is merged with others' edits, as `edit` does. With `if_match` nothing
        is merged: a revision or an entity tag insists on it, "missing" on there being no document. A document
        that is not there is created, if nobody else does so first. These two go straight to the server, after
        what is pending, never to the outbox, and leave no message. Raises PreconditionFailed and as `edit`
        does.
        """
        result: Saved = self._portal.run(
            self._inner.put(value, if_match=if_match, message=message, on_conflict=on_conflict)
        )
        return result

    def delete(self, *, if_match: int | str | None = None) -> Saved:
        """Delete the document; its history stays. Goes straight to the server, after what is pending.

        Raises MergeConflict where others changed it since, and PreconditionFailed if `if_match` (a revision
        or an entity tag) is not what is there.
        """
        result: Saved = self._portal.run(self._inner.delete(if_match=if_match))
        return result

    def update(
        self, change: Callable[[Any], object], *, message: str | None = None, deadline_s: float | None = None
    ) -> Saved:
        """Run a function on a copy of the newest value and save what it did, only if nobody was faster.

        Where somebody was, it runs again on fresh data, so what it read is what it changed (serialisable):
        it must be pure. What it returns is ignored. Waits between two runs are drawn from 0 to 10 ms, doubled
        each time, a second at most. Raises DeadlineExceeded after `deadline_s` (that of the client's Retry if
        None), and what any edit raises but MergeConflict.
        """
        result: Saved = self._portal.run(self._inner.update(change, message=message, deadline_s=deadline_s))
        return result

    def undo(self, *, on_conflict: Resolver | None = None) -> Saved | None:
        """Take your last edit back, keeping everything that came after it; None: there is none.

        The last hundred edits of this object that came to something can be taken back, one by one; not
        creating and deleting the document. Raises as `edit` does.
        """
        result: Saved | None = self._portal.run(self._inner.undo(on_conflict=on_conflict))
        return result

    def redo(self, *, on_conflict: Resolver | None = None) -> Saved | None:
        """Take your last undo back; None: there is none, or you made another edit since."""
        result: Saved | None = self._portal.run(self._inner.redo(on_conflict=on_conflict))
        return result

    def refresh(self) -> None:
        """Read the document as it is now. Raises NotFound where there never was one, and as any request."""
        self._portal.run(self._inner.refresh())

    def changes(self, since: int | None = None) -> Iterator[Change]:
        """Iterate over what happens to the document after a revision, from now on if None; it never ends.

        Each revision comes exactly once, in order, however often the connection is lost. `value` has moved
        already when a change comes. Raises NotFound or Forbidden where that ends it; closing the client does,
        too.
        """
        result: Iterator[Change] = self._portal.iterate(self._inner.changes(since))
        return result

    def history(self, pointer: str = "") -> Iterator[Revision]:
        """Iterate over the revisions, newest first; with a pointer, those that touched that place.

        Indices of arrays are taken as they were at each revision.
        """
        result: Iterator[Revision] = self._portal.iterate(self._inner.history(pointer))
        return result


class Unsaved:
    """The unsaved edits of one client: those of this process, and those an outbox has from earlier ones."""

    def __init__(self, inner: unsaved.Unsaved, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal

    def failed(self) -> tuple[UnsavedEdit, ...]:
        """Give them all, the first that failed first."""
        result: tuple[UnsavedEdit, ...] = self._portal.call(lambda: self._inner.failed())
        return result

    def discard(self, key: str) -> None:
        """Forget an edit: it was settled, or is not wanted any more. One that is not there is no error."""
        self._portal.run(self._inner.discard(key))


def _translate(value: Any, portal: Portal) -> Any:
    """Make of what the asynchronous client gives what this one gives."""
    if isinstance(value, document.Document):
        return _twin(Document, value, portal)
    if isinstance(value, unsaved.Unsaved):
        return _twin(Unsaved, value, portal)
    if isinstance(value, unsaved.UnsavedEdit):
        return replace(value, error=_translate(value.error, portal))
    if isinstance(value, conflict.MergeConflict) and not isinstance(value, MergeConflict):
        return _conflict(value, portal)
    if isinstance(value, tuple) and value and isinstance(value[0], unsaved.UnsavedEdit):
        return tuple([_translate(each, portal) for each in value])
    return value


def _twin(kind: Any, value: Any, portal: Portal) -> Any:
    """Give the one twin of an object."""
    twin = portal.twins.get(id(value))
    if twin is None:
        twin = portal.twins[id(value)] = kind(value, portal)
    return twin


def _conflict(value: conflict.MergeConflict, portal: Portal) -> MergeConflict:
    twin = MergeConflict.__new__(MergeConflict, *value.args)
    twin.__dict__.update(value.__dict__)
    twin._portal = portal
    return twin.with_traceback(value.__traceback__)


__all__ = ["Document", "MergeConflict", "Plait", "Unsaved"]
