"""The demo: people edit at once, one conflict in full, and the check that nothing was lost."""

import asyncio
import json
from collections import Counter
from random import Random
from typing import Any, Final

from aiohttp import ClientSession
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from plait_merge import Json
from plait_server.demo.cast import DOCUMENTS, NAMES
from plait_server.demo.client import EDIT, Client, Patch
from plait_server.demo.person import Event, Person
from plait_server.demo.stage import staged
from plait_server.ledger import Ledger, Verdict, View

ORDER: Final = "orders/2027-114"
SHOWN_WIDTH: Final = 100
FAILED: Final = "The check fails: this is a bug, please report it with what stands above."
STYLES: Final = {"applied": "green", "merged": "cyan", "noop": "dim", "conflict": "yellow", "refused": "red"}


async def show(*, people: int, edits: int, seed: int, as_json: bool) -> bool:
    """Run the demo and tell it; answer whether the check holds. `as_json`: only the report is on stdout."""
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    async with staged() as session:
        return await _Show(session, console, seed).run(people, edits, as_json)


class _Show:
    def __init__(self, session: ClientSession, console: Console, seed: int) -> None:
        self._session = session
        self._console = console
        self._seed = seed
        self._ledger = Ledger()
        self._outcomes: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()

    async def run(self, people: int, edits: int, as_json: bool) -> bool:
        self._say(
            f"{people} people edit {len(DOCUMENTS)} documents at once, {edits} edits, seed {self._seed}.\n"
            f"A real server on {self._session._base_url}, its database in a temporary folder."
        )
        views = await self._create()
        crowd = [self._person(n, views) for n in range(people)]
        self._title("What they do")
        self._say(
            "edit  who   document  what                                       from  answer", style="dim"
        )
        numbers = iter(range(1, edits + 1))
        async with asyncio.TaskGroup() as tasks:
            for person in crowd:
                tasks.create_task(person.work(numbers))
        self._say(_sum(self._outcomes, self._kinds))
        self._title("One conflict, in full")
        await self._conflict()
        self._title("The check")
        kept = [(document, view) for person in crowd for document, view in person.views.items()]
        verdict = await self._ledger.check(Client(self._session, "auditor"), kept)
        self._judge(verdict)
        if as_json:
            print(json.dumps(self._report(people, edits, verdict), indent=2))
        return verdict.holds

    async def _create(self) -> dict[str, View]:
        author = Client(self._session, NAMES[0])
        for document, value in DOCUMENTS.items():
            created = await author.create(document, value)
            self._ledger.note(author.author, None, created.acknowledged)
        return {document: await author.read(document) for document in DOCUMENTS}

    def _person(self, n: int, views: dict[str, View]) -> Person:
        name = NAMES[n] if n < len(NAMES) else f"p{n + 1}"
        random = Random(f"{self._seed} {name}")
        return Person(Client(self._session, name), random, dict(views), self._ledger, self._tell)

    def _tell(self, event: Event) -> None:
        word, answer = _answer(event)
        if not event.again:
            self._outcomes[word] += 1
        if word == "conflict":
            self._kinds.update(conflict["kind"] for conflict in event.reply.body["conflicts"])
        line = Text(f"{event.number:4}  {event.person:<5} {event.document.partition('/')[0]:<9} ")
        line.append(f"{_cut(event.says, 42):<42} ").append(f"r{event.base:<4} ", "dim")
        self._console.print(line.append(answer, STYLES[word]))

    async def _conflict(self) -> None:
        """Two people change one member from one base; the second also writes a note, which is clean."""
        first, second = Client(self._session, "ada"), Client(self._session, "bob")
        base = (await first.read(ORDER)).revision
        self._say(f"ada and bob both see revision {base} of {ORDER}. ada is faster:")
        reply = await self._sent(
            first, base, [{"op": "replace", "path": "/customer/city", "value": "Ghent"}], "moved to Ghent"
        )
        self._say("\nbob still sees the old one. He changes the same city, and adds a note:")
        patch: Patch = [
            {"op": "replace", "path": "/customer/city", "value": "Bruges"},
            {"op": "add", "path": "/notes/-", "value": "Ring twice."},
        ]
        reply = await self._sent(second, base, patch, "moved to Bruges")
        problem = reply.body
        self._say("\nNothing was written. bob keeps his city; his note, which is clean, goes with it:")
        choices = {conflict["id"]: "yours" for conflict in problem["conflicts"]}
        self._request(
            "bob", f"POST {problem['instance']}/resolution", {"choices": choices, "message": "asked them"}
        )
        settled = await second.settle(problem["instance"], choices, "asked them")
        self._ledger.note("bob", "asked them", settled.acknowledged)
        self._reply(settled.status, settled.body)

    async def _sent(self, client: Client, base: int, patch: Patch, message: str) -> Any:
        body = {"base": base, "patch": patch, "message": message}
        self._request(client.author, f"PATCH /v1/docs/{ORDER}   Content-Type: {EDIT}", body)
        reply = await client.edit(ORDER, base, patch, message)
        self._ledger.note(client.author, message, reply.acknowledged)
        self._reply(reply.status, reply.body)
        return reply

    def _request(self, author: str, line: str, body: Json) -> None:
        self._say(f"\n{line}   Plait-Author: {author}", style="bold")
        self._say(laid_out(body))

    def _reply(self, status: int, body: Json) -> None:
        style = "green" if status < 400 else "yellow"
        self._say(f"=> {status}", style=style)
        self._say(laid_out(body))

    def _judge(self, verdict: Verdict) -> None:
        self._say(
            f"{verdict.acknowledged} edits were acknowledged, creations and settlements among them; "
            f"the histories of {verdict.documents} documents hold {verdict.revisions} revisions.\n"
            f"missing {verdict.missing}, doubled {verdict.doubled}, asked for by nobody {verdict.unasked}, "
            f"gaps {verdict.gaps}\n"
            f"histories that do not fold to what GET gives: {verdict.misfolded} of {verdict.documents}\n"
            f"views people kept up from answers alone that are not what that revision was: "
            f"{verdict.outdated} of {verdict.views}"
        )
        if verdict.holds:
            self._say("Every acknowledged edit is in the history exactly once.", style="bold green")
        else:
            self._say(FAILED, style="bold red")
        self._say(
            "\nWhere to go next\n"
            "  plait serve                   your own server on http://127.0.0.1:8080\n"
            "  README.md                     the same by hand, with curl\n"
            "  plait demo --people 12 --edits 500 --seed 2\n"
            "  plait demo --replay FILE      real edit histories (plait demo --help)"
        )

    def _report(self, people: int, edits: int, verdict: Verdict) -> dict[str, Any]:
        return {
            "people": people,
            "edits": edits,
            "seed": self._seed,
            "outcomes": dict(self._outcomes),
            "conflicts_by_kind": dict(self._kinds),
            "verdict": verdict.as_json(),
        }

    def _title(self, title: str) -> None:
        self._console.print()
        if self._console.is_terminal:
            self._console.print(Rule(title, align="left"))
        else:
            self._console.print(f"== {title}")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style))


def laid_out(value: Json, indent: int = 0) -> str:
    """Write JSON for reading: what fits on a line stands on one."""
    line = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or indent + len(line) <= SHOWN_WIDTH:
        return line
    margin = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{margin}{json.dumps(name)}: {laid_out(part, indent + 2)}" for name, part in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"
    return (
        "[\n" + ",\n".join(margin + laid_out(part, indent + 2) for part in value) + "\n" + " " * indent + "]"
    )


def _answer(event: Event) -> tuple[str, str]:
    """Say an answer: the word it is counted under, and the end of its line."""
    body = event.reply.body
    if event.reply.status == 409 and "conflicts" in body:
        places = [f"{one['kind']} at {one['pointer'] or 'the root'}{_by(one)}" for one in body["conflicts"]]
        return "conflict", "refused  " + "; ".join(places)
    if event.reply.status >= 400:
        return "refused", f"refused  {event.reply.status} {event.reply.code}"
    word = body["outcome"]
    if event.again:
        return word, f"{word:<8} r{body['revision']}, sent twice, done once"
    if word == "noop":
        return word, "noop     nothing to change"
    missed = body["missed"]
    over = f"over {_revisions(missed)}" if word == "merged" and missed else ""
    return word, f"{word:<8} r{body['revision']} {over}".rstrip()


def _by(conflict: dict[str, Any]) -> str:
    theirs = conflict["theirs"]
    return f", {theirs['author']} in r{theirs['revision']}" if theirs.get("author") else ""


def _revisions(missed: list[dict[str, Any]]) -> str:
    first, last = missed[0]["revision"], missed[-1]["revision"]
    return f"r{first}" if first == last else f"r{first}-r{last}"


def _sum(outcomes: Counter[str], kinds: Counter[str]) -> str:
    words = ", ".join(f"{times} {word}" for word, times in outcomes.most_common())
    conflicts = ", ".join(f"{times} {kind}" for kind, times in kinds.most_common()) or "none"
    return f"\nAnswers: {words}.\nConflicts by kind: {conflicts}."


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
