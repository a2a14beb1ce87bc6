"""One document as a client has it: what is confirmed, what was sent, what was typed since.

    edit(edit)           the person types: shown at once
    next()               what to send now, frozen
    accepted(...)        the answer to it: saved
    refused(key)         the answer to it: not saved, and it will not be
    received(...)        a live frame: others' revisions, and one's own
    reset(...)           the whole document, where frames do not lead on

A pure value: no I/O, no clock. Answers and frames may come in any order, late, twice, or never. What is shown
is always the confirmed value with one's own edits replayed on top, and each of these leaves exactly once:
saved (its key was seen, or the server said so), failed (it cannot be replayed), or refused. An edit of what a
failed or refused one wrote fails with it; the others go on.

Costs. With nothing pending, or others' changes not in the way of what is pending, `edit`, `accepted` and
`received` cost what the edit or frame costs, and the widths of the containers on its way. Otherwise what is
pending is replayed: edits that touch nothing the others touched cost two applications each, any other edit a
rebase over what the others did. That is bounded: when `drift.REPLAYED_WEIGHT_MAX` is spent, which takes tens
of seconds, whatever else meets others' changes fails with LimitExceeded("replayed_weight"). An edit that
fails costs no comparison of documents, so neither do thousands. `reset` compares the document with the new
one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from plait_client.live.frame import Part
from plait_client.replica.drift import ACCEPTED, Drift, Refusal, between
from plait_client.replica.edit import Edit, Flight, Operations, Patch, State
from plait_client.replica.trail import Trail
from plait_merge import (
    ABSENT,
    LIMITS,
    Absent,
    Inapplicable,
    Json,
    Limits,
    Operation,
    apply_operations,
    check_value,
    format_pointer,
    read_patch,
    same,
)

if TYPE_CHECKING:
    from plait_client.saved import Missed


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The document as the server has it, as far as it is known here; ABSENT where it is deleted."""

    revision: int
    value: Json | Absent
    epoch: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An edit that was not sent, because others' changes leave no place for it.

    `edit.patch` is made on `base`; it would have had to be made on `theirs`, which is revision `revision`
    and those of one's own edits before it that are not saved yet. `parts` are the revisions in question,
    none where a whole document came instead. Conflicts in `reason` speak of these three.
    """

    edit: Edit
    reason: Refusal
    base: Json | Absent
    theirs: Json | Absent
    revision: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """What a message changed: keys of edits that are saved now, edits that failed, each told once.

    `changed` says whether `shown` is another value now; it is not for one's own edits coming back.
    """

    saved: tuple[str, ...] = ()
    failed: tuple[Failed, ...] = ()
    changed: bool = False


NOTHING = Progress()


@dataclass(frozen=True, slots=True)
class _Layer:
    """An edit of the stack that is shown, its patch read."""

    edit: Edit
    operations: Operations

    def carried(self, operations: Operations) -> _Layer:
        """The same edit in another form."""
        if operations is self.operations:
            return self
        return _Layer(replace(self.edit, patch=_written(operations)), operations)


@dataclass(frozen=True, slots=True)
class _Step:
    """A revision on the way from what is confirmed to the answer: its patch and the value it leads to."""

    part: Part
    operations: Operations
    value: Json | Absent


@dataclass(frozen=True, slots=True)
class _Sent:
    """The edit that was sent; `operations` is the form that is shown, None where it fits no longer.

    `landed` is the revision it is known to be in, while the confirmed value is not there yet.
    """

    flight: Flight
    operations: Operations | None
    landed: int | None = None


_Heard: TypeAlias = tuple[int, Json | Absent]


class Replica:
    """One document. Values that go in and out are shared, and nobody may change them."""

    __slots__ = (
        "_estranged",
        "_heard",
        "_keys",
        "_known",
        "_limits",
        "_pending",
        "_sent",
        "_trail",
        "confirmed",
        "shown",
    )

    def __init__(self, revision: int, value: Json | Absent, epoch: str, *, limits: Limits = LIMITS) -> None:
        """Begin with a document as the server gave it; revision 0 and ABSENT: there never was one.

        *limits* are the server's, for new edits.
        """
        self.confirmed = Confirmed(revision, value, epoch)
        self.shown: Json | Absent = value
        self._limits = limits
        self._sent: _Sent | None = None
        self._pending: deque[_Layer] = deque()
        self._keys: set[str] = set()
        self._trail = Trail()
        # Frames lead on from here; answers may be ahead of them.
        self._heard: _Heard = (revision, value)
        self._known = revision
        self._estranged = False

    @property
    def flight(self) -> Flight | None:
        """The edit that is sent and not answered."""
        return None if self._sent is None or self._sent.landed is not None else self._sent.flight

    @property
    def pending(self) -> tuple[Edit, ...]:
        """The edits that were not sent yet, in order, each in the form that fits the ones before."""
        return tuple([layer.edit for layer in self._pending])

    @property
    def first(self) -> str | None:
        """The key of the edit in flight, else of the first pending one."""
        if self.flight is not None:
            return self.flight.key
        return self._pending[0].edit.key if self._pending else None

    @property
    def is_idle(self) -> bool:
        """Whether everything typed is saved, and seen: what is shown is what is confirmed."""
        return not self._keys

    @property
    def behind(self) -> bool:
        """Whether something is known to be there that cannot be led to.

        `reset` with the document as the server has it now helps; so do frames that lead on. Nothing is sent
        until then.
        """
        return self._estranged or self._known > self.confirmed.revision

    def edit(self, edit: Edit) -> None:
        """Show an edit, and keep it to be sent. Its patch is made on `shown`. O(edit).

        Raises Inapplicable, MalformedPatch, InvalidValue or LimitExceeded, and ValueError for a key that is
        in use; nothing has changed then.
        """
        if edit.key in self._keys:
            raise ValueError(f"an edit with the key {edit.key!r} is waiting")
        operations = read_patch(edit.patch, self._limits)
        for operation in operations:
            if operation.value is not ABSENT:
                check_value(operation.value, self._limits, format_pointer(operation.path))
        self.shown = apply_operations(self.shown, operations, self._limits)
        self._pending.append(_Layer(edit, operations))
        self._keys.add(edit.key)

    def next(self) -> Flight | None:
        """Freeze the first pending edit, to be sent; None while there is one in flight, or none at all.

        An edit that others' changes have left nothing to do for is sent as well, with what is left of its
        patch, maybe []: the server has the last word, and answers "noop". O(1).
        """
        if self._sent is not None or self.behind or not self._pending:
            return None
        layer = self._pending.popleft()
        edit, confirmed = layer.edit, self.confirmed
        flight = Flight(
            edit.key,
            confirmed.revision,
            confirmed.epoch,
            edit.patch,
            edit.message,
            edit.made_at,
            edit.hold,
        )
        self._sent = _Sent(flight, layer.operations)
        return flight

    def accepted(
        self,
        key: str,
        revision: int,
        patch: Patch | None,
        missed: Sequence[Missed] | None,
        epoch: str | None = None,
    ) -> Progress:
        """Take the answer to the edit in flight: it is in *revision*, as *patch*; [] if it changed nothing,
        None where that is not told.

        *missed* are the revisions from its base to before it, in order; some may be missing, None: they are
        not told. Where they do not lead from what is confirmed to *revision* the edit is saved and stays
        shown, and the replica is `behind`. An answer about any other edit changes nothing: a frame has told
        of it before. Nor does one of another epoch, which makes the replica `behind`: after `reset`, send
        the same bytes again. Cost: see above.
        """
        sent = self._sent
        if sent is None or sent.flight.key != key or sent.landed is not None:
            return NOTHING
        if epoch is not None and epoch != self.confirmed.epoch:
            self._estranged = True
            return NOTHING
        if revision <= self.confirmed.revision:
            return self._replay(self._still(), {key})
        if self._is_as_sent(sent.flight, revision, patch) and sent.operations is not None:
            return self._land_as_sent(sent, sent.operations)
        led = self._steps(revision, patch, missed or ())
        if led is None:
            self._sent = replace(sent, landed=revision)
            self._known = max(self._known, revision)
            return Progress(saved=(key,))
        return self._land(sent, led, is_noop=not patch)

    def learned(
        self, revision: int, patch: Patch | None, missed: Sequence[Missed] | None, epoch: str | None = None
    ) -> Progress:
        """Take the answer to a write that was no waiting edit: a strict one, or a settled conflict.

        The arguments are those of `accepted`. Where they do not lead on from what is confirmed the replica is
        `behind`. Cost: see above.
        """
        confirmed = self.confirmed
        if epoch is not None and epoch != confirmed.epoch:
            self._estranged = True
            return NOTHING
        if revision <= confirmed.revision:
            return NOTHING
        steps = self._steps(revision, patch, missed or ())
        if not steps:
            self._known = max(self._known, revision)
            return NOTHING
        others = tuple([operation for step in steps for operation in step.operations])
        drift = Drift(confirmed.value, others, steps[-1].value)
        for step in steps:
            self._confirm(step.part.rev, step.operations, step.value)
        return self._replay(drift, parts=[step.part for step in steps])

    def refused(self, key: str) -> Progress:
        """Take an edit out that will not be saved: the server refused it, or it is given up.

        Pending edits that need it fail; the others go on. An edit that is given up while its fate is unknown
        may yet come as somebody's. A key that is not waiting changes nothing. Cost: see above.
        """
        sent = self._sent
        has_landed = sent is not None and sent.landed is not None and sent.flight.key == key
        if has_landed or key not in self._keys:
            return NOTHING
        return self._replay(self._still(), withdrawn={key})

    def thaw(self, key: str) -> bool:
        """Make the edit in flight the first one pending again, in the form that fits what is shown.

        For one whose base the server does not know any more, and which it is sure not to have saved. False:
        nothing has changed, because there is no such flight, or no such form; then it is `refused`. O(1).
        """
        sent = self._sent
        if sent is None or sent.flight.key != key or sent.landed is not None or sent.operations is None:
            return False
        flight = sent.flight
        self._sent = None
        edit = Edit(key, _written(sent.operations), flight.message, flight.made_at, flight.hold)
        self._pending.appendleft(_Layer(edit, sent.operations))
        return True

    def received(self, prev: int, revision: int, patch: Patch, parts: Sequence[Part]) -> Progress:
        """Take a live frame: *patch* leads from *prev* to *revision*, and *parts* names each in between.

        One's own edits in it are saved, in flight or not. What an answer told before is not taken twice, also
        where the frame goes on from there. A frame that does not lead on makes the replica `behind`.
        Raises MalformedPatch. Cost: see above.
        """
        operations = read_patch(patch, ACCEPTED)
        own = self._keys.intersection([part.key for part in parts if part.key is not None])
        try:
            led = self._led(prev, revision, operations)
        except Inapplicable:
            led = None
        if led is None:
            self._known = max(self._known, revision)
            return NOTHING
        others, value = led
        drift = Drift(self.confirmed.value, others, value)
        self._confirm(revision, others, value)
        sent = self._sent
        if sent is not None and sent.landed is not None and sent.landed <= self.confirmed.revision:
            own.add(sent.flight.key)
        return self._replay(drift, own, parts=[part for part in parts if part.key not in own])

    def reset(self, revision: int, value: Json | Absent, epoch: str) -> Progress:
        """Take the whole document, ABSENT if it is deleted: what others did is what makes the difference.

        An older revision of the same epoch is no news. Another epoch is another history, and numbers may go
        down; what is in flight stays so, because only the server can say what it knows of it. O(document).
        """
        self._estranged = False
        confirmed, sent = self.confirmed, self._sent
        is_other = epoch != confirmed.epoch
        if is_other or revision < confirmed.revision:
            self._heard = (revision, value)
        if not is_other and revision < confirmed.revision:
            return NOTHING
        others = between(confirmed.value, value)
        if not others:
            value = confirmed.value
        if is_other:
            self._known = revision
            self._trail = Trail()
        elif revision > confirmed.revision:
            self._known = max(self._known, revision)
            self._trail.append(confirmed.revision, revision, others)
        self.confirmed = Confirmed(revision, value, epoch)
        saved: set[str] = set()
        if sent is not None and sent.landed is not None and (is_other or sent.landed <= revision):
            saved.add(sent.flight.key)
        return self._replay(Drift(confirmed.value, others, value), saved)

    def since(self, revision: int) -> Operations | None:
        """Give what leads from a confirmed revision to what is confirmed now; None: that is not known.

        It is known for the last thousand revisions or so, less where they are large.
        """
        return () if revision == self.confirmed.revision else self._trail.since(revision)

    def export(self) -> State:
        """Give all there is to store. What is saved, but not seen yet, is exported as still in flight."""
        confirmed, sent = self.confirmed, self._sent
        return State(
            confirmed.revision,
            confirmed.value,
            confirmed.epoch,
            None if sent is None else sent.flight,
            None if sent is None or sent.operations is None else _written(sent.operations),
            self.pending,
        )

    @classmethod
    def restore(cls, state: State, *, limits: Limits = LIMITS) -> Replica:
        """Make a replica of what `export` gave. O(edits).

        Raises Inapplicable where the edits do not fit the value, and ValueError for a key that is there
        twice.
        """
        replica = cls(state.revision, state.value, state.epoch, limits=limits)
        if state.flight is not None:
            operations = None if state.flight_shown is None else read_patch(state.flight_shown, ACCEPTED)
            replica._sent = _Sent(state.flight, operations)
            replica._keys.add(state.flight.key)
            replica.shown = apply_operations(replica.shown, operations or (), ACCEPTED)
        for edit in state.pending:
            if edit.key in replica._keys:
                raise ValueError(f"the key {edit.key!r} is there twice")
            layer = _Layer(edit, read_patch(edit.patch, ACCEPTED))
            replica.shown = apply_operations(replica.shown, layer.operations, ACCEPTED)
            replica._pending.append(layer)
            replica._keys.add(edit.key)
        return replica

    def _still(self) -> Drift:
        """Nobody did anything."""
        return Drift(self.confirmed.value, (), self.confirmed.value)

    def _steps(self, revision: int, patch: Patch | None, missed: Sequence[Missed]) -> list[_Step] | None:
        """Give the revisions after the confirmed one up to *revision*; None where one of them is not told."""
        confirmed = self.confirmed
        told = [
            (Part(m.revision, m.author, m.at), m.patch) for m in missed if m.revision > confirmed.revision
        ]
        if patch:
            told.append((Part(revision, "", ""), patch))
        if [part.rev - confirmed.revision for part, _ in told] != [*range(1, len(told) + 1)]:
            return None
        if len(told) != revision - confirmed.revision:
            return None
        steps, value = [], confirmed.value
        for part, written in told:
            operations = read_patch(written, ACCEPTED)
            try:
                value = apply_operations(value, operations, ACCEPTED)
            except Inapplicable:
                return None
            steps.append(_Step(part, operations, value))
        return steps

    def _is_as_sent(self, flight: Flight, revision: int, patch: Patch | None) -> bool:
        """Say whether nobody else did anything since an edit was sent, and it was committed as it is."""
        confirmed = self.confirmed
        is_next = revision == confirmed.revision + 1 == flight.base + 1 and flight.epoch == confirmed.epoch
        # Without a patch it changed nothing, and the revision is somebody else's.
        return is_next and patch is not None and patch != [] and same(patch, flight.patch)

    def _land_as_sent(self, sent: _Sent, operations: Operations) -> Progress:
        """Confirm the edit in flight where nobody else did anything: it is what is shown. O(edit)."""
        before = self.confirmed
        # What is shown stays the very same value, so that drafts of it are known to be up to date.
        value = apply_operations(before.value, operations, ACCEPTED) if self._pending else self.shown
        self._confirm(before.revision + 1, operations, value)
        self._sent = None
        self._keys.remove(sent.flight.key)
        return Progress(saved=(sent.flight.key,))

    def _land(self, sent: _Sent, steps: list[_Step], is_noop: bool) -> Progress:
        """Confirm the edit in flight where it is known which revisions are others'."""
        theirs = steps if is_noop else steps[:-1]
        before = self.confirmed.value
        others = tuple([operation for step in theirs for operation in step.operations])
        drift = Drift(before, others, theirs[-1].value if theirs else before)
        if sent.operations is not None and not isinstance(drift.carry(sent.operations), tuple):
            drift.leave(sent.operations)
        for step in steps:
            self._confirm(step.part.rev, step.operations, step.value)
        drift.arrive(self.confirmed.value)
        self._sent = None
        self._keys.remove(sent.flight.key)
        progress = self._replay(drift, parts=[step.part for step in theirs])
        return replace(progress, saved=(sent.flight.key, *progress.saved))

    def _led(
        self, prev: int, revision: int, operations: Operations
    ) -> tuple[Operations, Json | Absent] | None:
        """Give what a frame adds to what is confirmed, and the value it leads to; None: it does not lead on.

        Raises Inapplicable.
        """
        confirmed = self.confirmed
        if prev == confirmed.revision:
            value = apply_operations(confirmed.value, operations, ACCEPTED)
            self._heard = (revision, value)
            return operations, value
        if prev == self._heard[0]:
            value = apply_operations(self._heard[1], operations, ACCEPTED)
            self._heard = (revision, confirmed.value if revision == confirmed.revision else value)
            if revision > confirmed.revision:
                return self._rest(prev, operations, value), value
        return ((), confirmed.value) if revision <= confirmed.revision else None

    def _rest(self, prev: int, operations: Operations, value: Json | Absent) -> Operations:
        """Give what leads from the confirmed value to *value*, where *operations* began earlier.

        They begin with what was told before, as a rule; that is seen from where the rest leads.
        """
        confirmed = self.confirmed.value
        known = self.since(prev)
        if known is not None:
            rest = operations[len(known) :]
            try:
                if same(apply_operations(confirmed, rest, ACCEPTED), value):
                    return rest
            except Inapplicable:
                pass
        return between(confirmed, value)

    def _confirm(self, revision: int, operations: Operations, value: Json | Absent) -> None:
        confirmed = self.confirmed
        if revision > confirmed.revision:
            self._trail.append(confirmed.revision, revision, operations)
            self.confirmed = Confirmed(revision, value, confirmed.epoch)
            self._known = max(self._known, revision)

    def _replay(
        self,
        drift: Drift,
        saved: Collection[str] = (),
        withdrawn: Collection[str] = (),
        parts: Sequence[Part] = (),
    ) -> Progress:
        """Replay the stack over a drift; *saved* edits are in what it leads to, *withdrawn* ones never will.

        Ends where nothing drifts any more and nobody is to leave.
        """
        leaving = {*saved, *withdrawn}
        told: list[str] = []
        failed: list[Failed] = []
        sent = self._sent
        if sent is not None and (leaving or not drift.is_none):
            key = sent.flight.key
            if key in saved and sent.landed is None:
                told.append(key)
            self._sent = _replayed_sent(sent, drift, saved, withdrawn)
            leaving.discard(key)
        kept: list[_Layer] = []
        while self._pending and (leaving or not drift.is_none):
            layer = self._pending.popleft()
            key = layer.edit.key
            leaving.discard(key)
            if key in saved:
                drift.absorb(layer.operations)
                told.append(key)
            elif key in withdrawn:
                drift.leave(layer.operations)
            else:
                base, theirs = drift.view, drift.real
                outcome = drift.carry(layer.operations)
                if isinstance(outcome, tuple):
                    kept.append(layer.carried(outcome))
                else:
                    drift.leave(layer.operations)
                    failed.append(
                        Failed(layer.edit, outcome, base, theirs, self.confirmed.revision, tuple(parts))
                    )
        self._pending.extendleft(reversed(kept))
        self._keys.difference_update(saved, withdrawn, [each.edit.key for each in failed])
        if not self._keys:
            self.shown = self.confirmed.value
        elif not drift.is_none:
            self.shown = drift.real
        return Progress(tuple(told), tuple(failed), changed=not drift.is_none)


def _replayed_sent(
    sent: _Sent, drift: Drift, saved: Collection[str], withdrawn: Collection[str]
) -> _Sent | None:
    """Replay the edit that was sent. Where it does not fit any more it is hidden: the server decides."""
    is_saved, is_withdrawn = sent.flight.key in saved, sent.flight.key in withdrawn
    outcome: Operations | None = sent.operations
    if sent.operations is not None:
        if is_saved:
            drift.absorb(sent.operations)
        elif is_withdrawn:
            drift.leave(sent.operations)
        else:
            carried = drift.carry(sent.operations)
            outcome = carried if isinstance(carried, tuple) else None
            if outcome is None:
                drift.leave(sent.operations)
    return None if is_saved or is_withdrawn else replace(sent, operations=outcome)


def _written(operations: Iterable[Operation]) -> Patch:
    return [operation.as_json() for operation in operations]
