"""The conversations that every client is tested with: what the server says leads to the same copies."""

import json
from pathlib import Path
from typing import Any

import pytest

from plait_client.live.follower import Follower, Moved, Replaced, Subscription, Told, Turned
from plait_merge import ABSENT, apply

FOLDER = Path(__file__).parents[1] / "conformance" / "wire"
CASES = [case for file in sorted(FOLDER.glob("*.json")) for case in json.loads(file.read_text())]


class Case:
    """A follower that is told what the case says, and copies made of its events alone."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents
        self.edits: dict[str, list[Any]] = {name: [] for name in documents}
        self.subscriptions: dict[str, Subscription] = {}
        self.follower = Follower(self.subscriptions, "case")
        self.values: dict[str, Any] = {}
        self.refused: list[Turned] = []

    def client(self, frame: dict[str, Any]) -> None:
        match frame["t"]:
            case "hello" if "token" not in frame:
                self.follower.opened()
                assert self.said() == [frame]
            case "sub" if "form" not in frame:
                name = frame["doc"]
                self.subscriptions[name] = Subscription(frame.get("from"), frame.get("epoch"))
                self.follower.ask(name)
                (asked,) = self.said()
                assert asked == {**frame, "id": asked["id"]}
            case "unsub":
                del self.subscriptions[frame["doc"]]
                self.follower.leave(frame["doc"])
                unsub, ping = self.said()
                assert unsub == frame
                assert self.follower.receive(json.dumps({"t": "pong", "id": ping["id"]})) is None
            case "edit":
                self.edits[frame["doc"]].append(frame["patch"])

    def server(self, frame: dict[str, Any]) -> None:
        signal = self.follower.receive(json.dumps(self.completed(frame)))
        match signal:
            case Turned():
                self.refused.append(signal)
            case Told(name, Replaced(value=value)):
                self.values[name] = value
            case Told(name, Moved(patch=patch)) if name in self.values:
                self.values[name] = apply(self.values[name], list(patch))

    def completed(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Put something in for what a case leaves open."""
        frame = {name: value for name, value in frame.items() if value != "*"}
        match frame["t"]:
            case "welcome":
                return {"session": "s", "epoch": "here", "limits": {}, **frame}
            case "snapshot" if "deleted" not in frame:
                return {"value": self.documents[frame["doc"]], **frame}
            case "rev":
                (name,) = {frame.get("doc", name) for name in self.documents}
                return {"doc": name, "patch": self.patch(name, frame["rev"]), **frame, "parts": parts(frame)}
            case "problem":
                asked = next((sub for sub in self.follower._asked.values()), None)
                return {"title": "", "detail": "", "status": 400, **frame, "id": asked}
        return frame

    def patch(self, name: str, revision: int) -> Any:
        """What led to a revision: the document was there as revision 1."""
        edits = self.edits[name]
        return edits[revision - 2] if revision - 2 < len(edits) else None

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.follower.take_frames()]


def parts(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"rev": n, "author": "ann", "at": "now"} for n in range(frame["prev"] + 1, frame["rev"] + 1)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_client_keeps_to_the_case(case: dict[str, Any]) -> None:
    told = Case(case["documents"])
    for step in case["steps"]:
        ((kind, content),) = step.items()
        match kind:
            case "client":
                told.client(content)
            case "server":
                told.server(content)
            case "other":
                told.edits[content["doc"]].append(content.get("patch", [{"op": "remove", "path": ""}]))
            case "copy":
                assert told.subscriptions[content["doc"]].revision == content["rev"]
                assert told.values[content["doc"]] == content.get("value", ABSENT)
    for name, subscription in told.subscriptions.items():
        assert subscription.caught_up != any(each.document == name for each in told.refused)
