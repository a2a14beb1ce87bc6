"""Replicas of one document, a server and a network, in every order hypothesis can think of.

The server is a small one: it rebases, remembers keys, and tells of each revision. The network delays, loses
requests and answers, composes frames, but does not reorder what goes one way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from dataclasses import replace as replace_
from functools import reduce
from typing import Any, Final

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from merge.strategies import add, documents, guard, move, patches, remove, replace
from plait_client.live.frame import Part
from plait_client.replica.drift import ACCEPTED
from plait_client.replica.edit import Edit, Flight, State
from plait_client.replica.replica import Progress, Replica
from plait_client.saved import Missed
from plait_merge import ABSENT, Conflicted, Inapplicable, Rebased, apply, diff, rebase, same

Json = Any
Patch = list[dict[str, Any]]

QUICK: Final = settings(
    max_examples=60,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
THOROUGH: Final = settings(QUICK, max_examples=2_000, derandomize=False)
FAULTS: Final = ("snapshot", "refresh", "store", "restart", "restart_from_before", "restore_backup")
"""What disturbs the network's ordinary course; each is a method of the machine."""
TWINS_EVERY: Final = 8
PROFILE: Final = THOROUGH if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else QUICK


@dataclass(frozen=True)
class Kept:
    """A revision of the server: what it was made of, and what it came to."""

    patch: Patch
    value: Json
    key: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the server says to an edit; `revision` None: refused."""

    key: str
    base: int
    revision: int | None
    changed: bool
    epoch: str


class Server:
    """One document, its history, and the answers it has given."""

    def __init__(self, value: Json) -> None:
        self.epoch = "epoch-0"
        self.history = [Kept([], value)]
        self.answers: dict[str, Answer] = {}

    @property
    def head(self) -> int:
        return len(self.history)

    @property
    def value(self) -> Json:
        return self.history[-1].value

    def edit(self, flight: Flight) -> Answer | None:
        """Decide an edit, once; None: its base is of another epoch, nothing is decided."""
        if (known := self.answers.get(flight.key)) is not None:
            return known
        if flight.epoch != self.epoch:
            return None
        since = [kept.patch for kept in self.history[flight.base :]]
        base = self.history[flight.base - 1].value
        outcome = rebase(base, since, flight.patch, limits=ACCEPTED)
        # What was frozen fits its base, whatever came since: anything else is a fault of the replica.
        assert isinstance(outcome, Rebased | Conflicted), (base, flight.patch, outcome)
        revision, changed = self.head, False
        if isinstance(outcome, Rebased) and outcome.patch:
            self.history.append(Kept(outcome.patch, outcome.value, flight.key))
            revision, changed = self.head, True
        decided = revision if isinstance(outcome, Rebased) else None
        answer = self.answers[flight.key] = Answer(flight.key, flight.base, decided, changed, self.epoch)
        return answer

    def commit(self, patch: Patch) -> None:
        """Somebody else edits."""
        self.history.append(Kept(patch, apply(self.value, patch)))

    def restore(self, revision: int) -> None:
        """Go back to a backup: what came later is forgotten, keys too."""
        del self.history[revision:]
        self.epoch = f"epoch-{int(self.epoch.partition('-')[2]) + 1}"
        self.answers = {
            key: Answer(key, 1, answer.revision, answer.changed, self.epoch)
            for key, answer in self.answers.items()
            if answer.revision is not None and answer.revision <= revision
        }

    def missed(self, answer: Answer) -> list[Missed]:
        assert answer.revision is not None
        upto = answer.revision - answer.changed
        return [
            Missed(number + 1, "somebody", "", self.history[number].patch)
            for number in range(answer.base, upto)
        ]

    def patch_of(self, answer: Answer) -> Patch:
        assert answer.revision is not None
        return self.history[answer.revision - 1].patch if answer.changed else []


@dataclass
class Client:
    """A replica, what is on its way to and from it, and what was typed."""

    name: str
    replica: Replica
    heard: int
    epoch: str
    answer: Answer | None = None
    taken: int = 0
    typed: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stored: State | None = None
    rewound: set[str] = field(default_factory=set)
    guessed: bool = False
    left: dict[str, Json] = field(default_factory=dict)

    def take(self, message: Callable[[Replica], Progress]) -> None:
        """Deliver a message; now and then to a twin that shares nothing, too: the same comes of it."""
        self.taken += 1
        if self.taken % TWINS_EVERY:
            self.note(message(self.replica))
            return
        twin = deepcopy(self.replica)
        progress, again = message(self.replica), message(twin)
        assert self.replica.export() == twin.export()
        assert (progress.saved, progress.changed) == (again.saved, again.changed)
        assert [f.edit for f in progress.failed] == [f.edit for f in again.failed]
        self.note(progress)

    def note(self, progress: Progress) -> None:
        self.saved += progress.saved
        self.failed += [failed.edit.key for failed in progress.failed]
        for failed in progress.failed:
            outcome = rebase(failed.base, [diff(failed.base, failed.theirs)], failed.edit.patch)
            event(f"failed, as compared values are {type(outcome).__name__}")
            assert not isinstance(outcome, Inapplicable)
            assert isinstance(failed.reason, Conflicted)


def read_anew(value: Json) -> Json:
    """The same value with nothing shared, as if it came over the wire."""
    return value if value is ABSENT else json.loads(json.dumps(value))


def stored_and_read(state: State) -> State:
    return deepcopy(replace_(state, value=read_anew(state.value)))


def layered(state: State) -> Json:
    """What is to be shown: the confirmed value with the stack on top."""
    stack = [] if state.flight_shown is None else [state.flight_shown]
    return reduce(apply, [*stack, *(edit.patch for edit in state.pending)], state.value)


class Machine(RuleBasedStateMachine):
    """Two or three people, others, and a server."""

    COUNT = 2

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.has_restored = False

    def document(self) -> st.SearchStrategy[Json]:
        return documents

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        value = data.draw(self.document())
        self.server = Server(value)
        self.clients = [
            Client(f"c{number}", Replica(1, value, self.server.epoch), 1, self.server.epoch)
            for number in range(self.COUNT)
        ]

    def client(self, number: int) -> Client:
        return self.clients[number % self.COUNT]

    # -- people

    @rule(number=st.integers(0, 2), data=st.data())
    def type(self, number: int, data: st.DataObject) -> None:
        client = self.client(number)
        if client.stored is None:
            self.store(number)
        self.numbers += 1
        key = f"{client.name}-{self.numbers}"
        shown = client.replica.shown
        patch = data.draw(self.typing(shown, key))
        client.replica.edit(Edit(key, patch))
        assert same(client.replica.shown, apply(shown, patch))
        client.typed.append(key)
        self.typed(client, client.replica.shown, patch)

    def typing(self, shown: Json, key: str) -> st.SearchStrategy[Patch]:
        return patches(read_anew(shown), tests=True)

    def typed(self, client: Client, shown: Json, patch: Patch) -> None:
        """Note what the person has made of it."""

    @rule(data=st.data())
    def others_edit(self, data: st.DataObject) -> None:
        patch = data.draw(patches(read_anew(self.server.value)))
        if not same(apply(self.server.value, patch), self.server.value):
            self.server.commit(patch)

    # -- the way there and back

    @rule(number=st.integers(0, 2), lost=st.sampled_from([None, None, None, None, "request", "answer"]))
    def send(self, number: int, lost: str | None) -> None:
        """The edit in flight goes out, for the first time or again; the request or the answer may be lost."""
        client = self.client(number)
        flight = client.replica.flight or client.replica.next()
        if flight is None or lost == "request" or client.answer is not None:
            return
        answer = self.server.edit(flight)
        if answer is None:
            self.no_such_base(client, flight)
        elif lost is None:
            client.answer = answer

    def no_such_base(self, client: Client, flight: Flight) -> None:
        if client.replica.confirmed.epoch != self.server.epoch:
            return
        if not client.replica.thaw(flight.key):
            client.take(lambda replica: replica.refused(flight.key))
            client.refused.append(flight.key)

    @rule(number=st.integers(0, 2), told=st.integers(0, 3))
    def answer(self, number: int, told: int) -> None:
        """The answer comes; of what was missed all is told, or a part, or nothing."""
        client = self.client(number)
        answer, client.answer = client.answer, None
        if answer is None:
            return
        revision = answer.revision
        if revision is None:
            if client.replica.flight is not None and client.replica.flight.key == answer.key:
                client.refused.append(answer.key)
            client.take(lambda replica: replica.refused(answer.key))
            return
        if answer.epoch != self.server.epoch:
            client.take(lambda replica: replica.accepted(answer.key, revision, [], None, answer.epoch))
            return
        missed = self.server.missed(answer)
        some = {0: None, 1: missed[1:]}.get(told, missed)
        patch = self.server.patch_of(answer)
        client.take(lambda replica: replica.accepted(answer.key, revision, patch, some, answer.epoch))

    @rule(number=st.integers(0, 2), composed=st.integers(1, 4))
    def hear(self, number: int, composed: int) -> None:
        """A live frame comes, of one revision or several."""
        client = self.client(number)
        if client.epoch != self.server.epoch:
            self.snapshot(number)
            return
        upto = min(self.server.head, client.heard + composed)
        if upto == client.heard:
            return
        kept = self.server.history[client.heard : upto]
        parts = [Part(client.heard + n, "somebody", "", each.key) for n, each in enumerate(kept, 1)]
        patch = [operation for each in kept for operation in each.patch]
        client.take(lambda replica: replica.received(client.heard, upto, patch, parts))
        client.heard = upto

    def snapshot(self, number: int) -> None:
        """The live connection begins anew, with the whole document."""
        client = self.client(number)
        client.heard, client.epoch = self.server.head, self.server.epoch
        self.refresh(number)

    def refresh(self, number: int) -> None:
        """The document is read, while frames go on from where they were."""
        client = self.client(number)
        client.guessed = True
        value = read_anew(self.server.value)
        client.take(lambda replica: replica.reset(self.server.head, value, self.server.epoch))

    # -- faults

    @rule(number=st.integers(0, 2), name=st.sampled_from(FAULTS))
    def disturb(self, number: int, name: str) -> None:
        """One of many things that happen less often than all the others."""
        getattr(self, name)(number)

    def store(self, number: int) -> None:
        """What there is is written to disk."""
        client = self.client(number)
        client.stored = stored_and_read(client.replica.export())

    def restart(self, number: int) -> None:
        """The program starts again from what is on disk; live frames go on from there."""
        client = self.client(number)
        state = stored_and_read(client.replica.export())
        if state.flight is not None and client.replica.flight is None:
            client.saved.remove(state.flight.key)  # what is saved and not seen is asked for, and told, again
        client.replica = Replica.restore(state)
        assert same(client.replica.shown, layered(state))
        client.heard, client.epoch = state.revision, state.epoch
        client.answer = None

    def restart_from_before(self, number: int) -> None:
        """The disk has not seen the last of it: what was sent since is taken for unsent."""
        client = self.client(number)
        state, client.stored = client.stored, None
        if state is None or self.has_restored:
            return
        waiting = {edit.key for edit in state.pending} | ({state.flight.key} if state.flight else set())
        client.replica = Replica.restore(state)
        client.heard, client.epoch, client.answer = state.revision, state.epoch, None
        for told in (client.saved, client.failed, client.refused):
            told[:] = [key for key in told if key not in waiting]
        client.typed = [
            k for k in client.typed if k in {*waiting, *client.saved, *client.failed, *client.refused}
        ]
        client.rewound |= waiting
        client.guessed = True

    def restore_backup(self, number: int) -> None:
        """The server is restored from a backup, and has another epoch."""
        self.server.restore(max(1, self.server.head - number - 1))
        self.has_restored = True

    # -- laws

    @invariant()
    def what_is_shown_is_the_confirmed_value_with_the_stack_on_top(self) -> None:
        for client in getattr(self, "clients", ()):
            state = client.replica.export()
            assert same(client.replica.shown, layered(state))
            assert client.replica.is_idle == (state.flight is None and not state.pending)
            if client.replica.is_idle:
                assert client.replica.shown is client.replica.confirmed.value

    @invariant()
    def what_is_confirmed_is_what_the_server_had_then(self) -> None:
        for client in getattr(self, "clients", ()):
            confirmed = client.replica.confirmed
            if confirmed.epoch == self.server.epoch:
                assert same(confirmed.value, self.server.history[confirmed.revision - 1].value)

    @invariant()
    def what_was_typed_waits_or_was_told_of_once(self) -> None:
        for client in getattr(self, "clients", ()):
            state = client.replica.export()
            waiting = [edit.key for edit in state.pending]
            if client.replica.flight is not None:
                waiting.append(client.replica.flight.key)
            told = client.saved + client.failed + client.refused
            assert sorted(waiting + told) == sorted(client.typed)

    @invariant()
    def what_is_known_since_leads_to_what_is_confirmed(self) -> None:
        for client in getattr(self, "clients", ()):
            confirmed = client.replica.confirmed
            since = client.replica.since(1)
            if since is not None and confirmed.epoch == self.server.epoch:
                written = [operation.as_json() for operation in since]
                assert same(apply(self.server.history[0].value, written, ACCEPTED), confirmed.value)

    def teardown(self) -> None:
        """Everything is delivered."""
        for _ in range(3 * self.numbers + 10):
            for number in range(len(getattr(self, "clients", ()))):
                self.send(number, None)
                self.answer(number, 3)
                if self.client(number).replica.behind:
                    self.refresh(number)
                self.hear(number, 2)
        for number, client in enumerate(getattr(self, "clients", ())):
            while client.epoch != self.server.epoch or client.heard < self.server.head:
                self.hear(number, 3)
            assert client.replica.is_idle
            assert not client.replica.behind
            assert same(client.replica.shown, self.server.value)
            self.what_was_typed_waits_or_was_told_of_once()
            if not self.has_restored:
                self.each_edit_is_in_the_history_once_or_was_refused(client)

    def each_edit_is_in_the_history_once_or_was_refused(self, client: Client) -> None:
        history = [kept.key for kept in self.server.history]
        for key in client.typed:
            answer = self.server.answers.get(key)
            changed = answer is not None and answer.revision is not None and answer.changed
            assert history.count(key) == changed
            if key not in client.rewound:
                assert (key in client.saved) == (answer is not None and answer.revision is not None)


class Rows(Machine):
    """Everybody adds rows to one list and edits his own; others move them and remove theirs.

    Nobody is in anybody's way, so nothing fails, wherever identities are known rather than guessed.
    """

    COUNT = 3

    def document(self) -> st.SearchStrategy[Json]:
        return st.just({"title": "t", "rows": [{"id": "row-a", "n": 0}, {"id": "row-b", "n": 0}]})

    def typing(self, shown: Json, key: str) -> st.SearchStrategy[Patch]:
        rows = shown["rows"]
        name = key.partition("-")[0]
        mine = [at for at, row in enumerate(rows) if row["id"].startswith(f"mark-{name}-")]
        added = st.integers(0, len(rows)).map(lambda at: [add(f"/rows/{at}", {"id": f"mark-{key}", "n": 0})])
        if not mine:
            return added
        place = st.sampled_from(mine)
        edited = place.map(lambda at: [replace(f"/rows/{at}/n", key)])
        guarded = place.map(
            lambda at: [guard(f"/rows/{at}/id", rows[at]["id"]), replace(f"/rows/{at}/n", key)]
        )
        both = added.flatmap(lambda begun: edited.map(lambda then: [*then, *begun]))
        return st.one_of(added, added, edited, guarded, both)

    def typed(self, client: Client, shown: Json, patch: Patch) -> None:
        prefix = f"mark-{client.name}-"
        client.left = {row["id"]: row["n"] for row in shown["rows"] if row["id"].startswith(prefix)}

    @rule(data=st.data())
    def others_edit(self, data: st.DataObject) -> None:
        rows = self.server.value["rows"]
        self.numbers += 1
        at = data.draw(st.integers(0, len(rows)))
        theirs = [number for number, row in enumerate(rows) if row["id"].startswith("row-")]
        steps = [[add(f"/rows/{at}", {"id": f"row-{self.numbers}", "n": 0})]]
        steps += [[remove(f"/rows/{number}")] for number in theirs]
        steps += [[move(f"/rows/{number}", "/rows/0")] for number in range(1, len(rows))]
        self.server.commit(data.draw(st.sampled_from(steps)))

    @invariant()
    def each_row_is_shown_once_as_it_was_left(self) -> None:
        for client in getattr(self, "clients", ()):
            if self.has_restored or client.rewound or client.guessed:
                continue
            assert not client.failed
            assert not client.refused
            rows = {row["id"]: row["n"] for row in client.replica.shown["rows"]}
            assert len(rows) == len(client.replica.shown["rows"])
            assert set(client.left) <= set(rows)
            assert client.left == {name: n for name, n in rows.items() if name in client.left}


Machine.TestCase.settings = PROFILE
Rows.TestCase.settings = PROFILE
TestAnyDocument = Machine.TestCase
TestRows = Rows.TestCase
