"""What the headers of a request say about revisions: If-Match, If-None-Match, Plait-Base, Prefer.

Everything here is pure: header text in, values out. Odd values raise BadHeader; whether a
precondition holds is decided by the service, in the transaction that writes.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from multidict import CIMultiDictProxy

_TAG = re.compile(r'\s*(W/)?"([^\x00-\x20"\x7f]*)"\s*(?:,|$)')
_WHOLE = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_BASE = re.compile(r'\s*([0-9]{1,18})\s*(?:;\s*epoch="([0-9A-Za-z_.~-]{1,64})"\s*)?', re.ASCII)
_LOCK = re.compile(r'\s*("?)([A-Za-z0-9_-]{1,64})\1\s*;\s*fence=([1-9][0-9]{0,17})\s*', re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# Commas and quotes part nothing within quotes.
_PREFERENCE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class BadHeader(ValueError):
    """A header (or query parameter) has a value that cannot be read."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = str(name)


def single(headers: CIMultiDictProxy[str], name: str) -> str | None:
    """Take a header that may be there once. Raises BadHeader when it is there twice."""
    values = headers.getall(name, None)
    if values is None:
        return None
    if len(values) > 1:
        raise BadHeader(name, "is given more than once.")
    return values[0]


@dataclass(frozen=True, slots=True)
class Tags:
    """The entity tags of one If-Match or If-None-Match field.

    `strong` and `weak` hold what stands between the quotes; `any` is `*`.
    """

    strong: frozenset[str]
    weak: frozenset[str]
    any: bool = False

    @property
    def revisions(self) -> frozenset[int]:
        """The revisions named by strong tags of whole documents; tags of views are not among them."""
        return frozenset(int(tag) for tag in self.strong if _WHOLE.fullmatch(tag))

    def matches_strongly(self, tag: str) -> bool:
        """Compare as If-Match does; `tag` is a quoted strong tag."""
        return self.any or tag[1:-1] in self.strong

    def matches_weakly(self, tag: str) -> bool:
        """Compare as If-None-Match does; `tag` is a quoted strong tag."""
        return self.any or tag[1:-1] in self.strong or tag[1:-1] in self.weak


class Return(StrEnum):
    """What the caller wants to see of a successful edit (RFC 7240)."""

    RESULT = "result"
    MINIMAL = "minimal"
    REPRESENTATION = "representation"


def etag(revision: int) -> str:
    """Write the tag of a whole document at `revision`."""
    return f'"{revision}"'


def view_etag(revision: int, view: str) -> str:
    """Write the tag of a part of it; each view of one revision has a tag of its own."""
    return f'"{revision}-{blake2b(view.encode(), digest_size=6).hexdigest()}"'


def read_tags(headers: CIMultiDictProxy[str], name: str) -> Tags | None:
    """Read an If-Match or If-None-Match field: `*`, or a list of quoted tags; None if it is not there."""
    values = headers.getall(name, None)
    if values is None:
        return None
    value = ", ".join(values)
    if value.strip() == "*":
        return Tags(frozenset(), frozenset(), any=True)
    strong: set[str] = set()
    weak: set[str] = set()
    at = 0
    while at < len(value):
        found = _TAG.match(value, at)
        if found is None:
            raise BadHeader(name, 'expected `*` or quoted tags such as "43".')
        (weak if found[1] else strong).add(found[2])
        at = found.end()
    if not strong and not weak:
        raise BadHeader(name, "is empty.")
    return Tags(frozenset(strong), frozenset(weak))


def read_base(value: str) -> tuple[int, str | None]:
    """Read Plait-Base: a revision, and the epoch it belongs to where the caller names it."""
    if value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value), None
    found = _BASE.fullmatch(value)
    if found is None:
        raise BadHeader("Plait-Base", "expected a revision number such as 41.")
    return int(found[1]), found[2]


def read_lock(value: str) -> tuple[str, int]:
    """Read Plait-Lock: the id of a lease, and its fencing number."""
    found = _LOCK.fullmatch(value)
    if found is None:
        raise BadHeader("Plait-Lock", "expected a lease and its fencing number, such as 01JD…;fence=17.")
    return found[2], int(found[3])


def read_key(value: str) -> str:
    """Read Idempotency-Key: a quoted string, or the same without quotes."""
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
        if re.search(r'(?<!\\)(?:\\\\)*"', key):
            raise BadHeader("Idempotency-Key", "expected one quoted string.")
        key = re.sub(r'\\(["\\])', r"\1", key)
    if not _KEY.fullmatch(key):
        raise BadHeader("Idempotency-Key", "expected 1 to 255 visible ASCII characters.")
    return key


def read_return(value: str) -> Return | None:
    """Find `return=` among the preferences; unknown preferences are ignored, as RFC 7240 asks."""
    wanted = _preferences(value).get("return")
    return Return(wanted) if wanted in ("minimal", "representation") else None


def read_respond_async(value: str) -> float | None:
    """Find `respond-async` among the preferences, and the seconds of `wait=` beside it; None without it."""
    preferences = _preferences(value)
    if preferences.get("respond-async") != "":
        return None
    wait = preferences.get("wait", "")
    return float(wait) if _SECONDS.fullmatch(wait) else 0.0


def _preferences(value: str) -> dict[str, str]:
    """Read a Prefer field: of preferences with the same name the first counts, their parameters do not."""
    preferences: dict[str, str] = {}
    for preference in _PREFERENCE.findall(value):
        name, _, wanted = preference.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), wanted.strip().strip('"').lower())
    return preferences
