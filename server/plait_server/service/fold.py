"""A document's value, made again from its revisions: what history has to come to, and how it may not look."""

from msgspec import Struct

from plait_merge import (
    ABSENT,
    Absent,
    Inapplicable,
    Json,
    LimitExceeded,
    Limits,
    MalformedPatch,
    Operation,
    apply_operations,
    read_patch,
)
from plait_server.service.refusal import inapplicable, malformed, too_large
from plait_server.service.revision import STORED
from plait_server.store import RevisionRecord


class Unfit(Exception):
    """A revision that does not follow the ones before it. The message is a sentence."""


class Fold(Struct):
    """The value at revision `n`; before the first one it is ABSENT. What is applied is within `limits`."""

    limits: Limits = STORED
    n: int = 0
    value: Json | Absent = ABSENT

    def step(self, record: RevisionRecord, patch: Json) -> tuple[Operation, ...]:
        """Go on to the next revision; `patch` is its own, decoded. Gives its operations. Raises Unfit.

        Cost: as applying the patch.
        """
        if record.n != self.n + 1:
            raise Unfit(f"Revision {self.n} is followed by {record.n}.")
        operations = self._read(patch)
        value = self._apply(operations)
        kind = "delete" if value is ABSENT else "create" if self.value is ABSENT else "edit"
        if record.kind != kind:
            raise Unfit(f"It says it is of kind {record.kind}, and what it does is {kind}.")
        self.n, self.value = record.n, value
        return operations

    def _read(self, patch: Json) -> tuple[Operation, ...]:
        try:
            return read_patch(patch, self.limits)
        except MalformedPatch as error:
            raise Unfit(malformed(error).detail) from error
        except LimitExceeded as error:
            raise Unfit(too_large(error, self.limits).detail) from error

    def _apply(self, operations: tuple[Operation, ...]) -> Json | Absent:
        try:
            return apply_operations(self.value, operations, self.limits)
        except Inapplicable as error:
            raise Unfit(inapplicable(error, operations).detail) from error
        except LimitExceeded as error:
            raise Unfit(too_large(error, self.limits).detail) from error


def check_base(record: RevisionRecord) -> None:
    """Raise Unfit where the author of a revision cannot have seen what it says."""
    if record.base is not None and not 1 <= record.base < record.n:
        raise Unfit(f"Its base is revision {record.base}, which was not there before it.")
