"""One writer: an edit after the other, each until it is decided."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

from plait_server.bench.connection import Answer, Connection
from plait_server.bench.load import Load
from plait_server.wire import encode

Patch = list[dict[str, Any]]
Fields = tuple[tuple[str, str], ...]

JSON_PATCH: Final = ("Content-Type", "application/json-patch+json")
JSON: Final = ("Content-Type", "application/json")
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 2.0
RETRY_AFTER_MAX_S: Final = 5.0
LOST_ANSWER_S: Final = 5.0
"""How long after the end an answer that was lost is still asked for."""
ROUNDS_MAX: Final = 100
"""An edit that is overtaken so often is given up."""


class Writer:
    """Knows of each document the revision it saw last, and edits from there.

    `own` are documents nobody else edits, `shared` those that others edit too.
    """

    def __init__(
        self,
        number: int,
        connection: Connection,
        load: Load,
        random: Random,
        own: Sequence[str],
        shared: Sequence[str],
    ) -> None:
        self.name = f"w{number}"
        self.random = random
        self.own = own
        self.shared = shared
        self.load = load
        self._connection = connection
        self._number = number
        self._count = 0
        self._seen: dict[str, int] = dict.fromkeys((*own, *shared), 1)

    def value(self) -> int:
        """Give a number that nobody has written before."""
        self._count += 1
        return self._number * 1_000_000_000 + self._count

    @property
    def member(self) -> str:
        """The pointer of this writer's own member in every document."""
        return f"/writers/{self.name}/n"

    async def edit(
        self, document: str, patch: Patch, *, strict: bool = False, settle: bool = False, fields: Fields = ()
    ) -> None:
        """Have a patch taken: where it was overtaken, again from the revision that overtook it.

        `settle`: a conflict is settled for this edit, as a person does who is shown it, before that.
        """
        content = encode(patch)
        tally = self.load.tally
        for _ in range(ROUNDS_MAX):
            seen = self._seen[document]
            base = ("If-Match", f'"{seen}"') if strict else ("Plait-Base", str(seen))
            answer, key = await self._decided(
                "PATCH", f"/v1/docs/{document}", content, (JSON_PATCH, base, *fields)
            )
            if answer is None:
                return
            if answer.status == 202:
                tally.queued += 1
                answer = await self._operation(answer, key)
                if answer is None:
                    return
            if answer.status == 200:
                self._taken(key, answer.body())
                return
            if answer.status == 412:
                tally.overtaken += 1
            elif answer.status == 409 and answer.code == "merge-conflict":
                tally.conflicts += 1
                if settle and await self._settle(answer.body()):
                    return
            elif answer.status != 409:
                tally.refused[answer.code] += 1
                return
            if self.load.is_over or not await self._catch_up(document, answer):
                return
        tally.refused["overtaken too often"] += 1

    async def batch(self, edits: Mapping[str, Patch]) -> None:
        """Have patches of several documents taken, all or none."""
        parts = [
            {"document": document, "patch": patch, "base": self._seen[document]}
            for document, patch in edits.items()
        ]
        answer, key = await self._decided("POST", "/v1/batch", encode({"edits": parts}), (JSON,))
        if answer is None:
            return
        self.load.tally.batches += 1
        if answer.status != 200:
            self.load.tally.refused[answer.code] += 1
            return
        for result in answer.body()["results"]:
            self._taken(key, result)

    async def read(self, document: str) -> None:
        answer = await self._send("GET", f"/v1/docs/{document}", b"", (), None)
        if answer is not None and answer.status == 200:
            self.load.tally.reads += 1
            self._seen[document] = int(answer.header("Plait-Revision") or 1)

    async def lease(self, document: str, pointer: str, patch: Patch) -> None:
        """Take a lease, edit under it, give it up."""
        place = f"/v1/docs/{document}/locks"
        wanted = encode({"pointer": pointer, "ttl_s": 10})
        answer, _ = await self._decided("POST", place, wanted, (JSON,), is_edit=False)
        if answer is None:
            return
        if answer.status != 201:
            self.load.tally.refused[answer.code] += 1
            return
        granted = answer.body()
        self.load.tally.leases += 1
        held = f"{granted['lock']};fence={granted['fence']}"
        await self.edit(document, patch, fields=(("Plait-Lock", held),))
        await self._send("DELETE", f"{place}/{granted['lock']}", b"", (("Plait-Lock", held),), None)

    async def create(self, document: str, content: bytes) -> bool:
        """Create a document; False where that is refused."""
        fields = (JSON, ("If-None-Match", "*"))
        answer, key = await self._decided("PUT", f"/v1/docs/{document}", content, fields, is_edit=False)
        if answer is None:
            return False
        if answer.status != 201:
            self.load.tally.refused[answer.code] += 1
            return False
        self.load.ledger.note(self.name, key, answer.body())
        return True

    def _taken(self, key: str, body: Mapping[str, Any]) -> None:
        self._seen[body["document"]] = body["revision"]
        self.load.acknowledge(self.name, key, body)

    async def _settle(self, conflict: Mapping[str, Any]) -> bool:
        """Settle a kept conflict for this edit; False where somebody was faster again."""
        if "instance" not in conflict:
            return False
        choices = {each["id"]: "yours" for each in conflict["conflicts"]}
        path = f"{conflict['instance']}/resolution"
        answer, key = await self._decided("POST", path, encode({"choices": choices}), (JSON,))
        if answer is None or answer.status != 200:
            return False
        self.load.tally.settled += 1
        self._taken(key, answer.body())
        return True

    async def _operation(self, answer: Answer, key: str) -> Answer | None:
        """Wait for what comes of a queued edit; give it as the answer it would have had."""
        path = f"/v1/operations/{answer.body()['operation']}"
        for _ in range(ROUNDS_MAX):
            told = await self._send("GET", f"{path}?wait=5", b"", (), None)
            if told is None or told.status != 200:
                break
            body = told.body()
            if body["status"] == "done":
                return Answer(200, told.head, encode(body["result"]))
            if body["status"] == "refused":
                return Answer(body["problem"]["status"], told.head, encode(body["problem"]))
        self.load.ledger.leave_open(key)
        return None

    async def _catch_up(self, document: str, answer: Answer) -> bool:
        """Learn the revision that was in the way; False where there is no document any more."""
        head = answer.body().get("head_revision") or answer.header("Plait-Revision")
        if head is not None and int(head) > self._seen[document]:
            self._seen[document] = int(head)
            return True
        read = await self._send("GET", f"/v1/docs/{document}", b"", (), None)
        if read is None or read.status != 200:
            return False
        self._seen[document] = int(read.header("Plait-Revision") or 1)
        return True

    async def _decided(
        self, method: str, path: str, content: bytes, fields: Fields, *, is_edit: bool = True
    ) -> tuple[Answer | None, str]:
        """Send under a key of its own until the server has decided; time and count it if it is an edit."""
        self._count += 1
        key = f"{self.load.run}-{self.name}-{self._count}"
        begun = time.perf_counter()
        named = (*fields, ("Idempotency-Key", f'"{key}"'))
        answer = await self._send(method, path, content, named, key)
        if answer is not None and is_edit:
            self.load.tally.attempts += 1
            self.load.tally.times.append(time.perf_counter() - begun)
        return answer, key

    async def _send(
        self, method: str, path: str, content: bytes, fields: Fields, key: str | None
    ) -> Answer | None:
        """Send until there is an answer that is no request to come back; None where the run is over before.

        An answer that was lost is asked for a little longer: whether an edit was taken, somebody should know.
        """
        load, backoff_s, over_since = self.load, BACKOFF_MIN_S, 0.0
        fields = (*fields, ("Plait-Author", self.name))
        while True:
            is_lost = False
            try:
                answer = await self._connection.ask(method, path, content, fields)
            except OSError:
                load.failed(key)
                is_lost = True
                # Full jitter: they were all cut at once, and shall not come back at once.
                wait_s = self.random.uniform(0, backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            else:
                load.answered()
                if not answer.may_be_sent_again:
                    return answer
                load.tally.sent_again[answer.code] += 1
                named_s = min(answer.retry_after_s, RETRY_AFTER_MAX_S)
                wait_s = named_s * self.random.uniform(0.5, 1)
            if load.is_over:
                over_since = over_since or time.monotonic()
                if not is_lost or load.is_dead or time.monotonic() - over_since > LOST_ANSWER_S:
                    load.tally.given_up += 1
                    return None
                await asyncio.sleep(wait_s)
            else:
                await load.pause(wait_s)
