"""Asking a person about the conflicts of a file, with the prompt the client has for conflicts of any kind."""

from __future__ import annotations

import json

from plait_client.command.resolution import Decision, Resolution
from plait_client.conflict import Facet, Field, Value
from plait_client.prompt.prompt import ask
from plait_merge import Conflict, Conflicted


def decisions(resolution: Resolution) -> dict[str, Decision]:
    """Ask about each conflict that is open, and give what was decided, by conflict id."""
    fields = [_field(conflict) for conflict in resolution.open]
    outcome = resolution.outcome
    clean = len(outcome.clean_operations) if isinstance(outcome, Conflicted) else 0
    ask.decide(fields, resolution.file.name, clean=clean)
    return {field.id: _decision(field) for field in fields if field.decided}


def _field(conflict: Conflict) -> Field:
    theirs = Facet(conflict.theirs.value, author="the other side")
    base, yours = Facet(conflict.base.value), Facet(conflict.yours.value)
    return Field(
        conflict.id,
        conflict.kind,
        conflict.pointer,
        base,
        theirs,
        yours,
        list(conflict.resolutions),
        pointer_theirs=conflict.pointer_theirs,
        pointer_yours=conflict.pointer_yours,
    )


def _decision(field: Field) -> Decision:
    choice = field.choice
    assert choice is not None
    return Decision.to(json.dumps(choice.value)) if isinstance(choice, Value) else Decision(choice)
