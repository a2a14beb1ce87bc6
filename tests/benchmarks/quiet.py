"""Writers who are not in each other's way: each has documents of its own, and edits them in turn."""

from .documents import document, pointers
from .load import Place

CONNECTIONS_MAX = 64
DOCUMENT_BYTES = 2_000
PLACE = pointers(DOCUMENT_BYTES)[0]


def documents(each: int) -> dict[str, object]:
    """Make so many documents for each connection."""
    return dict.fromkeys(_names(each), document(DOCUMENT_BYTES))


def places(each: int, *, keyed: bool = False) -> list[list[Place]]:
    """Group what there is to edit by connection; *keyed*: with idempotency keys."""
    names = _names(each)
    return [
        [Place(name, PLACE, keyed=keyed) for name in names[first : first + each]]
        for first in range(0, len(names), each)
    ]


def _names(each: int) -> list[str]:
    return [f"bench/{number:05}" for number in range(CONNECTIONS_MAX * each)]
