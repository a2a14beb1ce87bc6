"""What was acknowledged, and whether history has it exactly once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from plait_merge import ABSENT, Json, apply, same
from plait_server.demo.client import Client, Patch, Reply, View


@dataclass(frozen=True, slots=True)
class Entry:
    """An edit that the server said it has made."""

    revision: int
    author: str
    message: str | None
    patch: Patch


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison of all acknowledged edits with all histories found.

    `missing` acknowledged but not in history as acknowledged; `doubled` in history more than once; `unasked`
    in history, acknowledged to nobody; `gaps` revision numbers left out; `misfolded` documents whose history
    does not fold to what a GET gives; `outdated` views of people which are not what that revision was.
    """

    documents: int
    revisions: int
    acknowledged: int
    missing: int
    doubled: int
    unasked: int
    gaps: int
    misfolded: int
    views: int
    outdated: int

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


NOTHING = Verdict(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class Ledger:
    """Everything acknowledged, by document."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {}

    def note(self, author: str, message: str | None, reply: Reply) -> None:
        """Write an acknowledgement down. A noop made no revision, and one repeated is the same edit."""
        body = reply.body
        if reply.status not in (200, 201) or body["outcome"] == "noop" or reply.replayed:
            return
        entries = self._entries.setdefault(body["document"], [])
        entries.append(Entry(body["revision"], author, message, body["patch"]))

    async def check(self, client: Client, views: Iterable[tuple[str, View]] = ()) -> Verdict:
        """Read every document's whole history over HTTP, fold it, and compare. Cost: all of history once."""
        views_of: dict[str, list[View]] = {}
        for document, view in views:
            views_of.setdefault(document, []).append(view)
        verdict = NOTHING
        for document, entries in self._entries.items():
            history = await client.history(document)
            head = await client.read(document)
            verdict += _compared(entries, history, head, views_of.get(document, []))
        return verdict


def _compared(entries: list[Entry], history: list[dict[str, Any]], head: View, views: list[View]) -> Verdict:
    made = {revision["revision"]: revision for revision in history}
    messages = Counter(revision["message"] for revision in history if revision["message"])
    values = _folded(history, {view.revision for view in views} | {head.revision})
    acknowledged = Counter(entry.revision for entry in entries)
    return Verdict(
        documents=1,
        revisions=len(history),
        acknowledged=len(entries),
        missing=sum(not _is_there(entry, made.get(entry.revision)) for entry in entries),
        doubled=sum(
            times - 1 for counts in (acknowledged, messages) for times in counts.values() if times > 1
        ),
        unasked=sum(revision not in acknowledged for revision in made),
        gaps=sum(n not in made for n in range(1, head.revision + 1)),
        misfolded=int(not same(values.get(head.revision, ABSENT), head.value)),
        views=len(views),
        outdated=sum(not same(values.get(view.revision, ABSENT), view.value) for view in views),
    )


def _is_there(entry: Entry, revision: dict[str, Any] | None) -> bool:
    return (
        revision is not None
        and (revision["author"], revision["message"]) == (entry.author, entry.message)
        and same(revision["patch"], entry.patch)
    )


def _folded(history: list[dict[str, Any]], wanted: set[int]) -> dict[int, Json]:
    """Apply each revision's patch to the value before it, from nothing; keep the values of `wanted`."""
    value: Json = ABSENT
    kept = {}
    for revision in history:
        value = apply(value, revision["patch"])
        if revision["revision"] in wanted:
            kept[revision["revision"]] = value
    return kept
