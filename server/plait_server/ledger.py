"""What was acknowledged, and whether history has it exactly once: the check of the demo, of `plait bench` and
of the soak.

A server is asked, not believed: every revision is read back over the wire, numbers have to follow one
another, the patches have to come to what a GET gives, and each acknowledged edit has to stand where it was
said to.
Knows neither the server nor how it is reached.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol

from msgspec import json

from plait_merge import ABSENT, Inapplicable, Json, apply, same

Mark = Literal["message", "key"]
"""The member of a revision that says which edit it is: no two edits have the same."""

_canonical = json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class View:
    """A document as somebody has it: the value, and the revision it is the value of."""

    revision: int
    value: Json


class Source(Protocol):
    """Where documents are read back from."""

    async def history(self, document: str) -> Iterable[Mapping[str, Any]]:
        """Give every revision, oldest first."""
        ...

    async def read(self, document: str) -> View:
        """Give the head."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison of all acknowledged edits with all histories found.

    `missing` acknowledged but not in history as acknowledged; `doubled` in history more than once; `unasked`
    in history, acknowledged to nobody; `unanswered` in history, of an edit whose answer was lost, which is
    right; `gaps` revision numbers left out; `misfolded` documents whose history does not fold to what a GET
    gives; `outdated` views of people which are not what that revision was.
    """

    documents: int = 0
    revisions: int = 0
    acknowledged: int = 0
    missing: int = 0
    doubled: int = 0
    unasked: int = 0
    unanswered: int = 0
    gaps: int = 0
    misfolded: int = 0
    views: int = 0
    outdated: int = 0

    @property
    def holds(self) -> bool:
        return not (
            self.missing or self.doubled or self.unasked or self.gaps or self.misfolded or self.outdated
        )

    def as_json(self) -> dict[str, Any]:
        return {"holds": self.holds, **asdict(self)}

    def __add__(self, other: "Verdict") -> "Verdict":
        names = [field.name for field in fields(self)]
        return Verdict(**{name: getattr(self, name) + getattr(other, name) for name in names})


NOTHING = Verdict()


class Ledger:
    """Everything acknowledged, by document. An entry takes a hundred bytes, however large its patch is.

    `mark` names edits; without one only their revision, author and patch are compared.
    """

    def __init__(self, mark: Mark | None = "message") -> None:
        self._mark = mark
        self._books: dict[str, Book] = {}
        self._unanswered: set[str] = set()

    @property
    def documents(self) -> Collection[str]:
        return self._books.keys()

    def note(self, author: str, mark: str | None, answer: Mapping[str, Any] | None) -> None:
        """Write down the answer to an edit that was taken; None is the answer to one that was not.

        `answer` has document, revision, outcome and patch; a noop made no revision. The answer to an edit
        that was sent again is the same entry.
        """
        if answer is None or answer["outcome"] == "noop":
            return
        digest = _digest(author, mark if self._mark else None, answer["patch"])
        self.book(answer["document"]).note(answer["revision"], digest)
        if mark is not None:
            self._unanswered.discard(mark)

    def leave_open(self, mark: str) -> None:
        """Say that the answer to an edit was lost: it may be in history, once, or not."""
        self._unanswered.add(mark)

    def book(self, document: str) -> "Book":
        return self._books.setdefault(document, Book(self._mark, self._unanswered))

    async def check(self, source: Source, views: Iterable[tuple[str, View]] = ()) -> Verdict:
        """Read every document's whole history, fold it, and compare. Cost: all of history once.

        A document can be checked once: what is found is crossed out.
        """
        views_of: dict[str, list[View]] = {}
        for document, view in views:
            views_of.setdefault(document, []).append(view)
        verdict = NOTHING
        for document in list(self._books):
            book, head = self._books[document], await source.read(document)
            kept = views_of.get(document, [])
            wanted = frozenset(view.revision for view in kept)
            for revision in await source.history(document):
                book.find(revision, wanted)
            verdict += book.close(head, kept)
            # What it takes is given back document by document.
            del self._books[document]
        return verdict


class Book:
    """One document: acknowledgements, and its history as it is read, in whatever order the two come.

    What is in both is crossed out, so it stays small while history is read along.
    """

    def __init__(self, mark: Mark | None = None, unanswered: Collection[str] = ()) -> None:
        self._mark = mark
        self._unanswered = unanswered
        # By revision: acknowledged and not found yet; found and not acknowledged yet, with its mark.
        self._noted: dict[int, int] = {}
        self._found: dict[int, tuple[int, str | None]] = {}
        self._marks: Counter[str] = Counter()
        self._kept: dict[int, Json] = {}
        self._value: Json = ABSENT
        self._last = 0
        self._applies = True
        self._acknowledged = self._revisions = 0
        self._missing = self._doubled = self._gaps = 0

    def note(self, revision: int, digest: int) -> None:
        """Take an acknowledgement."""
        before = self._noted.get(revision)
        if before == digest:
            return
        self._acknowledged += 1
        if before is not None:
            # One revision was given to two edits, and can be only one of them.
            self._doubled += 1
            self._missing += 1
        elif revision in self._found:
            self._compare(digest, self._found.pop(revision)[0])
        else:
            self._noted[revision] = digest

    def find(self, revision: Mapping[str, Any], wanted: Collection[int] = ()) -> None:
        """Take the next revision of history; keep its value if it is one of `wanted`."""
        n, mark = revision["revision"], revision[self._mark] if self._mark else None
        self._revisions += 1
        self._gaps += abs(n - self._last - 1)
        self._last = n
        self._fold(revision["patch"])
        if n in wanted:
            self._kept[n] = self._value
        if mark is not None:
            self._marks[mark] += 1
        digest = _digest(revision["author"], mark, revision["patch"])
        if n in self._noted:
            self._compare(digest, self._noted.pop(n))
        else:
            self._found[n] = digest, mark

    def close(self, head: View, views: Collection[View] = ()) -> Verdict:
        """Compare with the head as a GET gives it, and say what was found."""
        unasked = [mark for _, mark in self._found.values()]
        unanswered = sum(mark in self._unanswered for mark in unasked if mark is not None)
        return Verdict(
            documents=1,
            revisions=self._revisions,
            acknowledged=self._acknowledged,
            missing=self._missing + len(self._noted),
            doubled=self._doubled + sum(times - 1 for times in self._marks.values()),
            unasked=len(unasked) - unanswered,
            unanswered=unanswered,
            gaps=self._gaps + abs(head.revision - self._last),
            misfolded=int(not self._applies or not same(self._value, head.value)),
            views=len(views),
            outdated=sum(not same(self._kept.get(view.revision, ABSENT), view.value) for view in views),
        )

    def _compare(self, one: int, other: int) -> None:
        self._missing += one != other

    def _fold(self, patch: Any) -> None:
        try:
            self._value = apply(self._value, patch)
        except Inapplicable:
            self._applies = False


def _digest(author: str, mark: str | None, patch: Any) -> int:
    return hash((author, mark, _canonical(patch)))
