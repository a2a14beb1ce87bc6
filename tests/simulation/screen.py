"""What somebody has on the screen: documents that are followed live, and typed in by a replica."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from plait_client.live.frame import Part as LivePart
from plait_client.replica.edit import Edit as Typed
from plait_client.replica.edit import Flight
from plait_client.replica.replica import Progress, Replica
from plait_client.saved import Missed
from plait_merge import ABSENT, Json, same
from plait_server.service import Edit
from plait_server.wire import decode
from simulation.chronicle import Violation
from simulation.client import DOCUMENTS, Client, address_of, idempotency
from simulation.content import Patch, plain
from simulation.ledger import TALLY, Request
from simulation.schedule import Step
from simulation.world import Link


@dataclass(slots=True)
class Stream:
    """A document followed live: `at` is the revision that frames led to, None before the first snapshot."""

    replica: Replica
    at: int | None = None
    wanted: bool = True
    subscribed: bool = False
    sending: bool = False
    typed: dict[str, str] = field(default_factory=dict)
    """What became of each edit by its key: "waiting", "saved", "failed" or "refused"."""


class Screen:
    """Shows documents, each followed live from when it was first wanted, over one connection at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name = client.name
        self.world = client.world
        self.streams: dict[str, Stream] = {}
        self.link: Link | None = None
        self._links = 0

    def cut(self) -> None:
        """Lose the connection."""
        if self.link is not None:
            self.link.cut()

    async def follow(self, random: Random, step: Step) -> None:
        name = random.choice(DOCUMENTS)
        stream = self.streams.get(name)
        if stream is None:
            known = await self._client.read(name)
            if known is None:
                return
            replica = Replica(*known, self.world.disk.epoch)
            stream = self.streams.setdefault(name, Stream(replica))
            if stream.replica is replica and random.random() < 0.5:
                stream.at = known[0]
        self._want(name, stream)

    def _want(self, name: str, stream: Stream) -> None:
        """Follow a document from where it was left. That takes another connection where this one was told to
        leave it: what was on its way then could not be told from what comes after."""
        if stream.subscribed and not stream.wanted and self.link is not None:
            self.link.cut()
        stream.wanted = True
        self.connect()
        if self.link is not None and not stream.subscribed:
            self._subscribe(self.link, name, stream)

    async def leave(self, random: Random, step: Step) -> None:
        followed = [name for name, stream in self.streams.items() if stream.subscribed and stream.wanted]
        if followed and self.link is not None:
            name = random.choice(followed)
            self.streams[name].wanted = False
            self.link.send(json.dumps({"t": "unsub", "doc": name}).encode())

    def connect(self) -> None:
        """Open a live connection, if there is none."""
        process = self.world.process
        if self.link is None and process is not None:
            self._links += 1
            name = f"{self._name}-{self._links}"
            self.link = Link(self.world, process, self._client, self._client.caller, name, self._hear)

    def _subscribe(self, link: Link, name: str, stream: Stream) -> None:
        frame: dict[str, Any] = {"t": "sub", "id": 1, "doc": name}
        if stream.at is not None:
            frame |= {"from": stream.at, "epoch": self.world.disk.epoch}
        stream.subscribed = True
        link.send(json.dumps(frame).encode())

    def _hear(self, link: Link, frame: Mapping[str, Any] | None) -> None:
        """Take a live frame."""
        if link is not self.link:
            return
        if frame is None:
            self.world.note(self._name, f"has lost {link.name}")
            self.link = None
            for stream in self.streams.values():
                stream.subscribed = False
            if any(stream.wanted for stream in self.streams.values()):
                self._client.later(0.02 + self.world.pace.delay_s(), self.connect)
            return
        with self.world.watching():
            self._heard(link, frame)

    def _heard(self, link: Link, frame: Mapping[str, Any]) -> None:
        kind = frame["t"]
        if kind == "welcome":
            for name, stream in self.streams.items():
                if stream.wanted and not stream.subscribed:
                    self._subscribe(link, name, stream)
            return
        name = str(frame.get("doc"))
        followed = self.streams.get(name)
        if kind == "problem" and frame.get("id") == 1 and followed is not None:
            followed.subscribed = False
        if followed is not None and followed.wanted and followed.subscribed:
            self._led_on(name, followed, frame)

    def _led_on(self, name: str, stream: Stream, frame: Mapping[str, Any]) -> None:
        """Take a frame of a document that is followed: each has to lead on from where the last one led."""
        kind = frame["t"]
        if kind not in ("rev", "snapshot", "caught_up", "reset"):
            return
        self.world.note(self._name, f"hears {kind} {name} {frame.get('prev', '')} {frame.get('rev', '')}")
        if kind == "reset":
            stream.at = None
        elif kind == "snapshot":
            if stream.at is not None:
                raise Violation("stream", f"{name}: a snapshot came though {stream.at} was to be led on from")
            self._led(name, stream, frame["rev"])
            value = ABSENT if frame.get("deleted") else frame["value"]
            self._progress(name, stream, stream.replica.reset(frame["rev"], value, self.world.disk.epoch))
        elif kind == "rev":
            if frame["prev"] != stream.at:
                raise Violation(
                    "stream", f"{name}: a frame led on from {frame['prev']}, not from {stream.at}"
                )
            self._led(name, stream, frame["rev"])
            parts = [LivePart(p["rev"], p["author"], p["at"], p.get("key")) for p in frame["parts"]]
            progress = stream.replica.received(frame["prev"], frame["rev"], list(frame["patch"]), parts)
            _check_taken(stream.replica, parts)
            self._progress(name, stream, progress)
        elif frame["rev"] != stream.at:
            raise Violation("stream", f"{name}: caught up at {frame['rev']}, and it is at {stream.at}")

    def _led(self, name: str, stream: Stream, revision: int) -> None:
        stream.at = revision
        self._client.floor[name] = max(self._client.floor[name], revision)

    def _progress(self, name: str, stream: Stream, progress: Progress) -> None:
        """Note what became of edits, and go on sending."""
        for key in progress.saved:
            _decide(stream, key, "saved")
        for failed in progress.failed:
            _decide(stream, failed.edit.key, "failed")
        confirmed = stream.replica.confirmed
        address = address_of(name)
        if not same(confirmed.value, self.world.chronicle.value(address, confirmed.revision)):
            raise Violation("replica", f"{self._name} has another {name} {confirmed.revision} than there is")
        self.pump(name, stream)

    async def type(self, random: Random, step: Step) -> None:
        """Edit what is shown, whatever the server has meanwhile."""
        if not self.streams:
            await self.follow(random, step)
        typable = [name for name in self.streams if name != TALLY]
        if not typable:
            return
        name = random.choice(typable)
        stream = self.streams[name]
        shown = stream.replica.shown
        if not isinstance(shown, dict):
            return
        key = f"{self._name}-{step.number}"
        self.world.ledger.written.add(key)
        stream.typed[key] = "waiting"
        stream.replica.edit(Typed(key, plain(random, shown, key)))
        self.pump(name, stream)

    def pump(self, name: str, stream: Stream) -> None:
        """Send what waits, one edit after the other."""
        replica = stream.replica
        if not stream.sending and (replica.behind or replica.flight or replica.pending):
            stream.sending = True
            self._client.start(f"saving {name}", self._save, name, stream)

    async def _save(self, name: str, stream: Stream) -> None:
        replica = stream.replica
        try:
            while True:
                if replica.behind:
                    await self._refresh(name, stream)
                flight = replica.flight or replica.next()
                if flight is not None:
                    await self._deliver(name, stream, flight)
                elif not replica.behind:
                    return
        finally:
            stream.sending = False

    async def _refresh(self, name: str, stream: Stream) -> None:
        known = await self._client.read(name)
        if known is None:
            await asyncio.sleep(0.05)
            return
        self._progress(name, stream, stream.replica.reset(*known, self.world.disk.epoch))

    async def _deliver(self, name: str, stream: Stream, flight: Flight) -> None:
        address = address_of(name)
        request = Request(
            self._client.caller, flight.key, f"typed in {name}", (address,), flight.key, is_typed=True
        )
        edit = Edit(
            kind="patch",
            content=flight.patch,
            base=flight.base or None,
            epoch=flight.epoch,
            key=idempotency(request),
        )
        reply = await self._client.edit(name, request, edit)
        assert reply is not None
        replica = stream.replica
        if reply.refusal is not None:
            if replica.flight is not None and replica.flight.key == flight.key:
                _decide(stream, flight.key, "refused")
            self._progress(name, stream, replica.refused(flight.key))
            return
        (part,) = reply.parts
        assert part.revision is not None
        missed = None
        if part.missed is not None:
            missed = [Missed(m["revision"], m["author"], m["at"], m["patch"]) for m in decode(part.missed)]
        patch = decode(part.patch) if part.patch is not None else []
        self._progress(name, stream, replica.accepted(flight.key, part.revision, patch, missed))

    async def chain(self, random: Random, step: Step) -> None:
        """Type faster than the server answers, over the live connection: each edit on the one before."""
        followed = [
            (name, stream)
            for name, stream in self.streams.items()
            if stream.subscribed and stream.wanted and name != TALLY and stream.at is not None
        ]
        link = self.link
        if not followed or link is None:
            return
        name, stream = random.choice(followed)
        base: Json = stream.at
        for place in range(random.randint(1, 3)):
            request = self._client.request(step, "types live in", name, suffix=f"-{place}")
            self.world.ledger.enter(request)
            number = 1_000 + 10 * step.number + place
            link.edits[number] = request
            patch: Patch = [{"op": "add", "path": f"/c{place % 2}", "value": request.token}]
            frame = {"t": "edit", "id": number, "doc": name, "base": base, "patch": patch, "key": request.key}
            link.send(json.dumps(frame).encode())
            base = {"key": request.key}
            if random.random() < 0.5:
                await asyncio.sleep(self.world.pace.delay_s())

    def revive(self) -> None:
        """Follow again what ended for want of a document."""
        for name, stream in self.streams.items():
            self._want(name, stream)
            self.pump(name, stream)

    def unsettled(self) -> str | None:
        """Say what is still to come, if there is something."""
        for name, stream in self.streams.items():
            head = self.world.chronicle.head(address_of(name))
            if stream.at != head:
                return f"{self._name} was led to {stream.at} of {name}, and it is at {head}"
            if not stream.replica.is_idle or stream.replica.behind:
                return f"{self._name} has unsaved edits of {name}"
        return None

    def check(self) -> None:
        """Check at the end that what is shown is what is there, and what was said of each edit is so."""
        chronicle = self.world.chronicle
        for name, stream in self.streams.items():
            address = address_of(name)
            if not same(stream.replica.shown, chronicle.value(address, chronicle.head(address))):
                raise Violation("replica", f"{self._name} is shown another {name} than there is")
            for key, outcome in stream.typed.items():
                made = chronicle.by_key(self._client.caller.subject, key)
                request = self.world.ledger.requests.get((self._client.caller.subject, key))
                decided = None if request is None else request.decided
                is_noop = decided is not None and decided.outcome.startswith("noop")
                if outcome == "waiting" or (outcome == "saved") != (bool(made) or is_noop):
                    raise Violation(
                        "typed", f"{key} of {self._name} is said to be {outcome}, and made {made}"
                    )


def _check_taken(replica: Replica, parts: Sequence[LivePart]) -> None:
    """Check that one's own edits, once they were heard of, wait no longer: they would be shown twice."""
    waiting = {edit.key for edit in replica.pending} | ({replica.flight.key} if replica.flight else set())
    heard = waiting.intersection(part.key for part in parts)
    if heard and not replica.behind:
        raise Violation("replica", f"{heard} came back, and wait as before")


def _decide(stream: Stream, key: str, outcome: str) -> None:
    if stream.typed.get(key, "waiting") != "waiting":
        raise Violation("typed", f"{key} is {outcome}, and was {stream.typed[key]}")
    if key in stream.typed:
        stream.typed[key] = outcome
