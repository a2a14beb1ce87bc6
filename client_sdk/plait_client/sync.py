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
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

from plait_client import batch, client, conflict, document, operation, unsaved
from plait_client.changes import Change
from plait_client.client import Entry, Rules, Server, Surroundings
from plait_client.errors import PlaitError
from plait_client.events import Counters, Retrying, Settled
from plait_client.history import Label, Leaf, Revision, Version
from plait_client.lease import TTL_S, Lease, Lock
from plait_client.live.live import State
from plait_client.operation import Status
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


class BatchConflict(batch.BatchConflict):
    """Edits of a batch overlap what others did, as in `plait_client`; here `save` waits."""

    _portal: Portal

    def save(self, message: str | None = None) -> dict[str, Saved]:  # type: ignore[override]
        """Save the batch with these choices, all or nothing. Gives what became of each document.

        Raises ValueError while a field is undecided, BatchConflict where others were there again meanwhile,
        and as `Batch.save` does; called again it sends the very same again.
        """
        saved: dict[str, Saved] = self._portal.run(super().save(message))
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

    @contextmanager
    def batch(self, *, message: str | None = None, on_conflict: Resolver | None = None) -> Iterator[Batch]:
        """Edit several documents at once: on leaving, all of it is saved, or nothing.

        An exception inside discards it all. Raises BatchConflict where edits overlap others', unless a
        resolver decides, and as `Batch.save` does.
        """
        with self._portal.entered(self._inner.batch(message=message, on_conflict=on_conflict)) as inside:
            yield inside

    def submit(
        self, name: str, patch: Patch, *, base: int | None = None, message: str | None = None
    ) -> Operation:
        """Hand in an edit of a document that need not be open, as `Document.submit` does.

        `patch` is made on revision `base`, or on whatever is there when its turn comes if None.
        """
        result: Operation = self._portal.run(self._inner.submit(name, patch, base=base, message=message))
        return result

    def operation(self, id: str) -> Operation:
        """Find an edit that was handed in, by this process or another. Raises NotFound."""
        result: Operation = self._portal.run(self._inner.operation(id))
        return result

    def documents(self, collection: str) -> Iterator[Entry]:
        """Iterate over the documents of a collection, by id."""
        result: Iterator[Entry] = self._portal.iterate(self._inner.documents(collection))
        return result

    def rules(self, collection: str) -> Rules:
        """Read what holds for the documents of a collection."""
        result: Rules = self._portal.run(self._inner.rules(collection))
        return result

    def set_rules(
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
        result: Rules = self._portal.run(
            self._inner.set_rules(
                collection, if_match=if_match, policy=policy, schema=schema, merge=merge, retention=retention
            )
        )
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
    def name(self) -> str:
        result: str = self._portal.call(lambda: self._inner.name)
        return result

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

    def inc(
        self,
        pointer: str,
        by: int | float = 1,
        *,
        message: str | None = None,
        on_conflict: Resolver | None = None,
    ) -> Saved:
        """Add to a number, whatever others add to it meanwhile: all of it counts, and nobody tries again.

        Goes straight to the server, after what is pending; it is shown once it is saved. Raises InvalidPatch
        where there is no number, MergeConflict where others removed it since, and as any request does.
        """
        result: Saved = self._portal.run(
            self._inner.inc(pointer, by, message=message, on_conflict=on_conflict)
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

    def submit(self, change: Patch | Callable[[Any], object], *, message: str | None = None) -> Operation:
        """Hand an edit in and go on: the server decides it later, those of a document in the order they came.

        `change` is a JSON Patch (with `inc` if need be) made on what is shown, or a function that is run
        once, on a copy of that.
        Once this returns the edit is on the server's disk; it is shown when it is decided and told, by
        `Operation.result` or live. Goes after what is pending. Raises InvalidPatch, and as any request does.
        """
        result: Operation = self._portal.run(self._inner.submit(change, message=message))
        return result

    @contextmanager
    def lock(self, pointer: str = "", *, ttl_s: float = TTL_S, wait_s: float = 0.0) -> Iterator[Lease]:
        """Hold a lease on a place, or on all of the document: nobody else changes what is there meanwhile.

        Edits of the document that this task makes inside are made under the lease; others' there raise
        `Locked`, elsewhere in the document they go on. The document is read anew first. The lease renews
        itself three times in each `ttl_s`, and is given back on leaving, after the edits made inside. Where
        it could not be renewed it ends after `ttl_s`: `lease.lost` then, and edits inside raise StaleFence.

        An edit is made under one lease: of several the innermost that it is about. Who changes two places
        at once takes one lease on what is above both.

        Raises Locked (`holder`, `expires`) where a lease overlaps it, also one of your own, after waiting up
        to `wait_s` for its end; ValueError for what is no pointer, NotFound where there is nothing.
        """
        with self._portal.entered(self._inner.lock(pointer, ttl_s=ttl_s, wait_s=wait_s)) as inside:
            yield inside

    def locks(self) -> list[Lock]:
        """Read which leases anybody holds on the document."""
        result: list[Lock] = self._portal.run(self._inner.locks())
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

    def history(self, pointer: str = "", *, labelled: bool = False) -> Iterator[Revision]:
        """Iterate over the revisions, newest first; with a pointer, those that touched that place; with
        `labelled=True` those that have labels.

        Indices of arrays are taken as they were at each revision.
        """
        result: Iterator[Revision] = self._portal.iterate(self._inner.history(pointer, labelled=labelled))
        return result

    def at(
        self, moment: str | datetime | None = None, *, revision: int | None = None, label: str | None = None
    ) -> Version:
        """Read the document as it was: at a moment (RFC 3339, or a datetime), a revision or a label.

        Raises NotFound where there was no document yet, Deleted where there was none any more, Compacted
        where that is kept no longer; TypeError unless it is said in exactly one way.
        """
        result: Version = self._portal.run(self._inner.at(moment, revision=revision, label=label))
        return result

    def blame(self, pointer: str = "", *, revision: int | None = None) -> list[Leaf]:
        """Tell who set what: each scalar, `{}` and `[]` at a place and in it, in order of the document, with
        the revision that made it so. What was moved since keeps its author. `revision`: as it was then."""
        result: list[Leaf] = self._portal.run(self._inner.blame(pointer, revision=revision))
        return result

    def diff(self, start: int, end: int | None = None) -> Patch:
        """Give a JSON Patch that leads from one revision to another, the newest if None."""
        result: Patch = self._portal.run(self._inner.diff(start, end))
        return result

    def labels(self) -> list[Label]:
        """Read the labels of the document's revisions."""
        result: list[Label] = self._portal.run(self._inner.labels())
        return result

    def label(self, name: str, revision: int | None = None) -> None:
        """Give a revision a name, the newest known one if None: 1 to 64 of A-Z a-z 0-9 . _ and -.

        A label that is there moves. A labelled revision outlives others where the collection says so.
        Raises ValueError for what is no label.
        """
        self._portal.run(self._inner.label(name, revision))

    def unlabel(self, name: str) -> None:
        """Take a label away. Raises NotFound where there is none."""
        self._portal.run(self._inner.unlabel(name))

    def revert(
        self,
        *,
        revision: int | None = None,
        revisions: tuple[int, int] | None = None,
        message: str | None = None,
        on_conflict: Resolver | None = None,
    ) -> Saved:
        """Take back what a revision did, whoever made it, or what all of them did from one to another,
        keeping everything that came after. It is a new edit, and can conflict as any other.

        Goes straight to the server, after what is pending. Raises MergeConflict where it was changed since,
        InvalidPatch for what cannot be taken back; TypeError unless exactly one of the two is said.
        """
        result: Saved = self._portal.run(
            self._inner.revert(
                revision=revision, revisions=revisions, message=message, on_conflict=on_conflict
            )
        )
        return result

    def restore(
        self, *, revision: int, message: str | None = None, on_conflict: Resolver | None = None
    ) -> Saved:
        """Make the document what it was at a revision, also where it is deleted now; else as `revert`."""
        result: Saved = self._portal.run(
            self._inner.restore(revision=revision, message=message, on_conflict=on_conflict)
        )
        return result


class Batch:
    """Edits of several documents on their way to be saved together; `Plait.batch` makes it.

    A document is named, and read anew, or given as it is open here. What is done to one is done to what is
    confirmed of it once your own edits of it are sent; others' edits meanwhile are merged, as with any edit.
    """

    def __init__(self, inner: batch.Batch, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def saved(self) -> dict[str, Saved]:
        """What became of each document, by its name; {} as long as it is not saved."""
        result: dict[str, Saved] = self._portal.call(lambda: self._inner.saved)
        return result

    def edit(self, document: str | Document) -> Any:
        """Give a plain copy of a document; what differs in the end is its edit. Raises NotFound, Deleted."""
        result: Any = self._portal.run(self._inner.edit(_inner(document)))
        return result

    def patch(self, document: str | Document, patch: Patch) -> None:
        """Add a JSON Patch, with `inc` if need be, made on the document as it is after what was added before.

        Raises InvalidPatch for what is none; whether it fits is decided with the batch.
        """
        self._portal.run(self._inner.patch(_inner(document), patch))

    def inc(self, document: str | Document, pointer: str, by: int | float = 1) -> None:
        """Add to a number, whatever others add to it meanwhile."""
        self._portal.run(self._inner.inc(_inner(document), pointer, by))

    def create(self, name: str, value: Json) -> None:
        """Create a document: `collection/id`. The batch is refused where it is there already."""
        self._portal.run(self._inner.create(name, value))

    def delete(self, document: str | Document) -> None:
        """Delete a document; its history stays."""
        self._portal.run(self._inner.delete(_inner(document)))

    def save(self) -> dict[str, Saved]:
        """Save it all, or nothing: `with` does so on leaving. Gives what became of each document.

        The first call makes the request, every other one sends the very same again: after an error with
        `outcome_unknown` the batch is not made twice. Who is cancelled here takes nothing back.

        Raises BatchConflict where edits overlap others', and as the edits do by themselves: NotFound,
        TestFailed, InvalidPatch, Locked; `error.problem["errors"]` then names each that was refused.
        """
        result: dict[str, Saved] = self._portal.run(self._inner.save())
        return result


class Operation:
    """An edit that the server has accepted and decides when its turn comes.

    `id` finds it again, from any process (`Plait.operation`), as long as the server keeps it. `status`
    is "queued", "done" or "refused" as far as is known here, `accepted` and `finished` are RFC 3339.
    """

    def __init__(self, inner: operation.Operation, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def id(self) -> str:
        result: str = self._portal.call(lambda: self._inner.id)
        return result

    @property
    def document(self) -> str:
        """The name of the document."""
        result: str = self._portal.call(lambda: self._inner.document)
        return result

    @property
    def status(self) -> Status:
        result: Status = self._portal.call(lambda: self._inner.status)
        return result

    @property
    def accepted(self) -> str:
        result: str = self._portal.call(lambda: self._inner.accepted)
        return result

    @property
    def finished(self) -> str | None:
        result: str | None = self._portal.call(lambda: self._inner.finished)
        return result

    def refresh(self) -> None:
        """Ask how it stands."""
        self._portal.run(self._inner.refresh())

    def result(self, timeout_s: float | None = None, *, on_conflict: Resolver | None = None) -> Saved:
        """Wait for what becomes of it; the document has it then, where it is open.

        Raises what the edit was refused with, MergeConflict among it, which is settled as any other;
        DeadlineExceeded after `timeout_s`, and as any request does: it can be asked for again then.
        """
        result: Saved = self._portal.run(self._inner.result(timeout_s, on_conflict=on_conflict))
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
    if isinstance(value, batch.Batch):
        return _twin(Batch, value, portal)
    if isinstance(value, operation.Operation):
        return _twin(Operation, value, portal)
    if isinstance(value, unsaved.Unsaved):
        return _twin(Unsaved, value, portal)
    if isinstance(value, unsaved.UnsavedEdit):
        return replace(value, error=_translate(value.error, portal))
    if isinstance(value, conflict.MergeConflict) and not isinstance(value, MergeConflict):
        return _conflict(MergeConflict, value, portal)
    if isinstance(value, batch.BatchConflict) and not isinstance(value, BatchConflict):
        twin = _conflict(BatchConflict, value, portal)
        twin.conflicts = tuple([_translate(each, portal) for each in value.conflicts])
        return twin
    if isinstance(value, tuple) and value and isinstance(value[0], unsaved.UnsavedEdit):
        return tuple([_translate(each, portal) for each in value])
    return value


def _twin(kind: Any, value: Any, portal: Portal) -> Any:
    """Give the one twin of an object."""
    twin = portal.twins.get(id(value))
    if twin is None:
        twin = portal.twins[id(value)] = kind(value, portal)
    return twin


def _conflict(kind: Any, value: PlaitError, portal: Portal) -> Any:
    twin = kind.__new__(kind, *value.args)
    twin.__dict__.update(value.__dict__)
    twin._portal = portal
    return twin.with_traceback(value.__traceback__)


def _inner(given: str | Document) -> str | document.Document:
    """Give what a call takes in place of a document of this client."""
    return given if isinstance(given, str) else given._inner


__all__ = ["Batch", "BatchConflict", "Document", "MergeConflict", "Operation", "Plait", "Unsaved"]
