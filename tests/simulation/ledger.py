"""What was asked and what was answered, and what must hold between that and what is durable.

`replied` looks at an answer as it leaves the server, `told` at a live frame; `settled` looks at the whole
when nothing goes on any more. All raise Violation.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from plait_merge import ABSENT, Absent, Json, same
from plait_server import errors
from plait_server.service import Answer, BatchAnswer, Caller, DocumentView
from plait_server.service.attempt import STORED_REFUSALS
from plait_server.store import Address, Commit
from plait_server.wire import decode
from simulation.chronicle import Chronicle, Violation, place
from simulation.promises import Promises

TALLY = "tally/1"
"""Only appended to and counted in: each edit of it can be seen in its value."""
MADE_REVISIONS = frozenset({"created", "applied", "merged", "deleted"})


@dataclass(eq=False, slots=True)
class Request:
    """One logical request, however often it is sent. `token` is what it writes, `counts` what it counts."""

    caller: Caller
    key: str
    does: str
    addresses: tuple[Address, ...] = ()
    token: str | None = None
    counts: int = 0
    decided: "Reply | None" = None
    before: "list[Reply]" = field(default_factory=list)
    """What it was answered earlier, when its key was free again since."""
    is_typed: bool = False
    """Whether a replica makes it, and takes care of its answer."""

    @property
    def scope(self) -> tuple[str, str]:
        return self.caller.subject, self.key

    def __str__(self) -> str:
        return f"{self.key} ({self.does})"


@dataclass(frozen=True, slots=True)
class Part:
    """What became of one edit: `revision` is its own, or the head it is about; `patch` is JSON."""

    outcome: str
    address: Address
    revision: int | None = None
    patch: bytes | None = None
    missed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: one part for each edit that was made, or the refusal of all."""

    parts: tuple[Part, ...] = ()
    refusal: errors.PlaitServerError | None = None
    replayed: bool = False

    @property
    def outcome(self) -> str:
        if self.refusal is not None:
            return self.refusal.code
        return ", ".join(f"{part.outcome} as {part.revision}" for part in self.parts)

    @property
    def is_for_now(self) -> bool:
        """Whether it says nothing about the request, which may be sent again."""
        return isinstance(self.refusal, errors.Unavailable)

    @property
    def is_final(self) -> bool:
        """Whether every later answer has to be the same."""
        return self.refusal is None or isinstance(self.refusal, STORED_REFUSALS)


def reply_of(caller: Caller, answer: Answer | BatchAnswer) -> Reply:
    """Take what the service answered."""
    if isinstance(answer, BatchAnswer):
        parts = tuple(_part_of(caller, each) for each in answer.answers)
        return Reply(parts, None, answer.replayed)
    return Reply((_part_of(caller, answer),), None, answer.replayed)


def refusal_of(error: errors.PlaitServerError | errors.BatchRefused) -> Reply:
    """Take what the service refused."""
    if isinstance(error, errors.BatchRefused):
        return Reply((), error.first, error.replayed)
    return Reply((), error, error.replayed)


def _part_of(caller: Caller, answer: Answer) -> Part:
    address = Address(caller.tenant, answer.document.collection, answer.document.id)
    patch = None if answer.patch == b"null" else answer.patch
    return Part(answer.outcome, address, answer.revision, patch, answer.missed)


@dataclass(slots=True)
class Ledger:
    """All requests of a run, and the chronicle and the promises they are compared with."""

    chronicle: Chronicle
    promises: Promises
    requests: dict[tuple[str, str], Request] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    """Every string that anybody ever submitted."""
    replies: int = 0
    fence: int = 0
    """The newest fencing number that was given."""
    fences: set[int] = field(default_factory=set)
    """Those of the leases that somebody was told to have."""

    def enter(self, request: Request) -> Request:
        self.requests[request.scope] = request
        if request.token is not None:
            self.written.add(request.token)
        return request

    def replied(self, request: Request, reply: Reply) -> None:
        """Look at an answer that leaves the server now."""
        self.replies += 1
        for part in reply.parts:
            self._check_part(request, part)
        if reply.refusal is not None:
            self._check_refusal(request, reply.refusal)
        if reply.is_for_now or not self.promises.binds(request.scope):
            return
        if any(_difference(before, reply) is None for before in request.before):
            return
        if request.decided is not None and (difference := _difference(request.decided, reply)):
            raise Violation("again", f"{request} was answered {difference[0]}, then {difference[1]}")
        if request.decided is None and reply.is_final:
            request.decided = reply

    def committed(self, commit: Commit) -> None:
        """Look at a commit that is durable now: whoever has a key anew is answered anew."""
        self.promises.committed(commit)
        request = None if commit.key is None else self.requests.get((commit.key.caller, commit.key.key))
        if request is not None and request.decided is not None:
            request.before.append(request.decided)
            request.decided = None

    def _check_part(self, request: Request, part: Part) -> None:
        chronicle, address, n = self.chronicle, part.address, part.revision
        assert n is not None
        if part.outcome in MADE_REVISIONS:
            record = chronicle.record(address, n)
            if (record.caller, record.key) != (request.caller.subject, request.key):
                raise Violation(
                    "acknowledged",
                    f"{request} was told it is revision {n} of {place(address)}, which is {record.key}",
                )
            if part.patch is not None and part.patch != record.patch:
                raise Violation("acknowledged", f"{request} was told of another patch than it made")
        elif n:
            chronicle.record(address, n)
        if part.missed is not None:
            self._check_missed(address, part.missed)

    def _check_missed(self, address: Address, missed: bytes) -> None:
        for each in decode(missed):
            record = self.chronicle.record(address, each["revision"])
            if each["patch"] != decode(record.patch) or each["author"] != record.author:
                raise Violation("missed", f"{place(address)} revision {record.n} was shown as another")

    def _check_refusal(self, request: Request, refusal: errors.PlaitServerError) -> None:
        """Check that it speaks of durable revisions only."""
        if len(request.addresses) != 1 or isinstance(refusal, errors.BaseUnknown):
            return
        (address,) = request.addresses
        for name in ("head_revision", "revision"):
            n = refusal.members.get(name)
            if type(n) is int and n:
                self.chronicle.record(address, n)
        missed = refusal.members.get("missed")
        if isinstance(missed, Raw):
            self._check_missed(address, bytes(missed))

    def read(self, document: str, address: Address, view: DocumentView | None, n: int, floor: int) -> None:
        """Look at a document as it was read: `view` is None where it is deleted. `floor` was seen before."""
        value = self.chronicle.value(address, n)
        if not same(value, ABSENT if view is None else view.value):
            raise Violation("read", f"{document} at revision {n} was read as what it is not")
        if n < floor:
            raise Violation("back", f"{document} was read at {n} by somebody who had seen {floor}")

    def told(self, address: Address, frame: Mapping[str, Any]) -> None:
        """Look at a live frame that leaves the server now."""
        chronicle = self.chronicle
        match frame["t"]:
            case "rev":
                prev, upto = frame["prev"], frame["rev"]
                records = [chronicle.record(address, n) for n in range(prev + 1, upto + 1)]
                said = [(part["rev"], part["author"], part.get("key")) for part in frame["parts"]]
                if said != [(record.n, record.author, record.key) for record in records]:
                    raise Violation("stream", f"the frame {prev} to {upto} of {place(address)} names {said}")
                if frame["patch"] != [step for record in records for step in decode(record.patch)]:
                    raise Violation("stream", f"the frame {prev} to {upto} of {place(address)} is wrong")
            case "snapshot":
                value = ABSENT if frame.get("deleted") else frame["value"]
                if not same(value, chronicle.value(address, frame["rev"])):
                    raise Violation("stream", f"the snapshot {frame['rev']} of {place(address)} is wrong")
            case "applied":
                chronicle.record(address, frame["rev"])

    def answered_live(self, request: Request, frame: Mapping[str, Any]) -> None:
        """Look at the answer to an edit that was sent over a live connection."""
        if frame["t"] == "applied":
            part = Part(frame["outcome"], request.addresses[0], frame["rev"])
            self.replied(request, Reply((part,)))

    def granted(self, fence: int) -> None:
        """Look at a lease that is new."""
        if fence <= self.fence:
            raise Violation("fence", f"a lease has fence {fence}, after one with {self.fence}")
        self.fence = fence
        self.fences.add(fence)

    def settled(self) -> None:
        """Look at everything when nobody waits for anything any more."""
        for request in self.requests.values():
            self._check_effects(request)
        for (caller, key), made in self.chronicle._by_key.items():
            if (caller, key) not in self.requests:
                raise Violation("nobody", f"{made} was made under a key that nobody used: {key}")
        self._check_tally()
        for address, history in self.chronicle.histories.items():
            for text in _strings(history.fold.value):
                if text not in self.written:
                    raise Violation("nobody", f"{place(address)} holds {text!r}, which nobody wrote")

    def _check_effects(self, request: Request) -> None:
        """Check that a request had its effect once, or none."""
        made = Counter(address for address, _ in self._made(request))
        lives = self.promises.lives[request.scope]
        if made and max(made.values()) > lives:
            raise Violation("once", f"{request} made more than one revision: {made}")
        if made and len(request.addresses) > 1 and made.keys() != set(request.addresses):
            raise Violation("whole", f"{request} was made in part: {[*map(place, made)]}")
        answers = [*request.before, *([request.decided] if request.decided is not None else [])]
        if not answers or len(answers) < lives:
            return  # somebody was never answered
        parts = [part for answer in answers for part in answer.parts]
        accepted = Counter(part.address for part in parts if part.outcome in MADE_REVISIONS)
        if made != accepted:
            raise Violation("once", f"{request} was answered {answers[-1].outcome!r} and made {made}")

    def _made(self, request: Request) -> list[tuple[Address, int]]:
        """Give the revisions that a request made."""
        return self.chronicle.by_key(*request.scope)

    def _check_tally(self) -> None:
        address = Address("acme", *TALLY.split("/"))
        value = self.chronicle.value(address, self.chronicle.head(address))
        if isinstance(value, Absent):
            return
        assert isinstance(value, dict)
        made = [
            request for request in self.requests.values() for at, _ in self._made(request) if at == address
        ]
        expected = Counter(request.token for request in made if request.token and not request.counts)
        if Counter(value["log"]) != expected:
            raise Violation("tally", f"the log holds {value['log']}, and {sorted(expected)} were written")
        counted = sum(request.counts for request in made)
        if value["n"] != counted:
            raise Violation("tally", f"it counts {value['n']}, and {counted} were counted")


def _difference(first: Reply, again: Reply) -> tuple[object, object] | None:
    """Say in what an answer differs from the one that was given before."""
    if type(first.refusal) is not type(again.refusal):
        return first.outcome, again.outcome
    for before, after in zip(first.parts, again.parts, strict=True):
        patches = {before.patch, after.patch} - {None}
        same = (before.outcome, before.revision, before.address) == (
            after.outcome,
            after.revision,
            after.address,
        )
        if not same or len(patches) > 1:
            return before, after
    return None


def _strings(value: Json | Absent) -> Iterator[str]:
    """Give the strings in a value; names of members are everybody's."""
    waiting: list[Any] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, Sequence):
            waiting += each
