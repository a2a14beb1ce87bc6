"""What to do where two sides meet, per place and as data.

A policy maps patterns to rules. A pattern is a pointer in which `*` stands for one token and `**` for any
number of them, none included; a rule is a few words. `Policy.read` checks all of it once, `Policy.at` looks
one place up. Which of several patterns counts, and what each word does: `docs/decisions/0015-policies.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, final

from plait_merge.pointer import InvalidPointer, Tokens, format_pointer, parse_pointer
from plait_merge.values import Absent, Json


@final
class Undecided:
    """The type of CONFLICT: what a resolver answers where somebody has to look."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "CONFLICT"


CONFLICT: Final = Undecided()

Resolver: TypeAlias = Callable[[Json | Absent, Json | Absent, Json | Absent, str], Json | Absent | Undecided]
"""Settles one conflict from base, theirs, yours and their pointer; pure. Returns a value or CONFLICT."""

RULES_MAX: Final = 256
KEY_FIELDS_MAX: Final = 8
PATTERN_TOKENS_MAX: Final = 64
PLACES_REMEMBERED_MAX: Final = 8_192


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds at one place, each word with its default.

    `key` names the members that make an element's key where `array` is "keyed"; `text` is what two edits
    of one string are merged by, None where a string is one thing.
    """

    object: Literal["merge", "atomic"] = "merge"
    replace: Literal["opaque", "deep"] = "opaque"
    array: Literal["list", "keyed", "set", "log", "lines", "atomic"] = "list"
    key: tuple[str, ...] = ()
    order: Literal["free", "strict"] = "free"
    keys: Literal["infer", "off", "strict"] = "infer"
    scalar: Literal["conflict", "theirs", "yours", "max", "min", "newest", "sum", "exclusive"] = "conflict"
    text: Literal["lines", "words", "characters"] | None = None
    resolver: str | None = None


DEFAULT: Final = Rule()


class PolicyError(ValueError):
    """Something that is no policy: `pointer` says where in it, `known` which words would do there."""

    def __init__(self, pointer: str, detail: str, known: Iterable[str] = ()) -> None:
        self.pointer = pointer
        self.detail = detail
        self.known = tuple(known)
        super().__init__(pointer, detail, self.known)

    def __str__(self) -> str:
        known = f"; known are {', '.join(self.known)}" if self.known else ""
        return f"policy, at {self.pointer!r}: {self.detail}{known}"


_Rules: TypeAlias = tuple[tuple[Tokens, Mapping[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules by pattern, most specific first, and the version they were written under.

    `rules` holds for each pattern only the fields of `Rule` that are stated there. Made by `read`.
    """

    version: int | str | None = None
    rules: _Rules = ()
    resolvers: Mapping[str, Resolver] = field(default_factory=dict)
    frame: Tokens = ()  # where what is merged stands in what the patterns speak of
    groups: bool = field(init=False, compare=False)  # whether an edit may concern what it is in
    counts: bool = field(init=False, compare=False)  # whether equal edits may differ from one
    names: bool = field(init=False, compare=False)  # whether it says what elements are known by
    _known: dict[Tokens, Rule] = field(init=False, default_factory=dict, repr=False, compare=False)
    _by_head: Mapping[str, _Rules] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_head", _by_head(self.rules))
        stated = [words for _, words in self.rules]
        counts = any(s.get("scalar") in ("sum", "exclusive") for s in stated)
        object.__setattr__(self, "counts", counts)
        names = any(s.get("array") == "keyed" or s.get("keys") == "off" for s in stated)
        object.__setattr__(self, "names", names)
        grouped = any(
            stated.get(word) in words for _, stated in self.rules for word, words in _GROUPS.items()
        )
        object.__setattr__(self, "groups", grouped)

    @staticmethod
    def read(policy: Json, resolvers: Mapping[str, Resolver] | None = None) -> Policy:
        """Read `{"version": ..., "rules": {pattern: {word: ...}}}`; raises PolicyError.

        *resolvers* are those the rules may name.
        """
        return _read(policy, resolvers or {})

    def at(self, tokens: Tokens) -> Rule:
        """Return the rule at a place; each word from the most specific pattern that states it.

        Remembered, so a place asked for again costs one look-up; else O(rules x tokens).
        """
        known = self._known.get(tokens)
        return self._find(tokens) if known is None else known

    def within(self, tokens: Tokens) -> Tokens:
        """Return the outermost place at or around *tokens* whose parts a change may concern all at once.

        That is something atomic, or an array whose elements are told apart by what they hold.
        """
        if self.groups:
            for end in range(len(tokens)):
                rule = self.at(tokens[:end])
                if any(getattr(rule, word) in words for word, words in _GROUPS.items()):
                    return tokens[:end]
        return tokens

    def counts_within(self, tokens: Tokens) -> bool:
        """Tell whether equal values set at or inside a place may count as two (`sum`, `exclusive`)."""
        place = (*self.frame, *tokens)
        return self.counts and any(
            stated.get("scalar") in ("sum", "exclusive") and _reaches(pattern, place)
            for pattern, stated in self.rules
        )

    def knowing(self, keys: Mapping[Tokens, tuple[str, ...]]) -> Policy:
        """Return the policy with the arrays at some places keyed."""
        if not keys:
            return self
        rules: dict[Tokens, Mapping[str, Any]] = dict(self.rules)
        for tokens, key in keys.items():
            place = (*self.frame, *tokens)
            rules[place] = {**rules.get(place, {}), "array": "keyed", "key": key}
        return replace(self, rules=_ranked(rules))

    def under(self, tokens: Tokens) -> Policy:
        """Return the policy for what stands at a place, looked up from there."""
        return replace(self, frame=(*self.frame, *tokens)) if tokens else self

    def as_json(self) -> dict[str, Json]:
        """Write the policy as `read` takes it."""
        rules = {_format_pattern(pattern): _written(stated) for pattern, stated in self.rules}
        return {"rules": rules} if self.version is None else {"version": self.version, "rules": rules}

    def _find(self, tokens: Tokens) -> Rule:
        stated: dict[str, Any] = {}
        place = (*self.frame, *tokens)
        head = place[0] if place and place[0] in self._by_head else "*"
        for pattern, words in self._by_head[head]:
            if _matches(pattern, place):
                stated.update(words)
        if len(self._known) >= PLACES_REMEMBERED_MAX:
            self._known.clear()
        rule = self._known[tokens] = replace(DEFAULT, **stated) if stated else DEFAULT
        return rule


_GROUPS: Final = {"object": ("atomic",), "array": ("atomic", "keyed", "set", "lines")}


def _by_head(rules: _Rules) -> Mapping[str, _Rules]:
    """Sort rules by the name their pattern starts with, the least specific first; "*" has those without."""
    heads = {pattern[0] for pattern, _ in rules if pattern} - {"**"} | {"*"}
    anywhere = ("*", "**")
    return {
        head: tuple(
            [rule for rule in reversed(rules) if not rule[0] or rule[0][0] == head or rule[0][0] in anywhere]
        )
        for head in heads
    }


def _matches(pattern: Tokens, tokens: Tokens) -> bool:
    """Match greedily, and where that fails let the last `**` take one token more. O(pattern x tokens)."""
    at = here = 0
    retry: tuple[int, int] | None = None
    while here < len(tokens):
        if at < len(pattern) and pattern[at] == "**":
            retry = at, here
            at += 1
        elif at < len(pattern) and (pattern[at] == "*" or pattern[at] == tokens[here]):
            at += 1
            here += 1
        elif retry is not None:
            retry = retry[0], retry[1] + 1
            at, here = retry[0] + 1, retry[1]
        else:
            return False
    return all(token == "**" for token in pattern[at:])


def _reaches(pattern: Tokens, tokens: Tokens) -> bool:
    """Tell whether a pattern matches a place or may match one inside of it."""
    for here, token in zip(pattern, tokens, strict=False):
        if here == "**":
            return True
        if here != "*" and here != token:
            return False
    return len(pattern) >= len(tokens)


# Reading.


def _read(policy: Json, resolvers: Mapping[str, Resolver]) -> Policy:
    _check_members(policy, "", ("version", "rules"))
    version = policy.get("version")
    if version is not None and type(version) is not int and type(version) is not str:
        raise PolicyError("/version", "a version is an integer or a string")
    written = policy.get("rules", {})
    if type(written) is not dict:
        raise PolicyError("/rules", "rules are an object")
    if len(written) > RULES_MAX:
        raise PolicyError("/rules", f"more than {RULES_MAX} rules")
    rules: dict[Tokens, Mapping[str, Any]] = {}
    for text, rule in written.items():
        at = "/rules" + format_pointer([text])
        pattern = _read_pattern(text, at)
        if pattern in rules:
            raise PolicyError(at, "the same pattern is there in another spelling")
        rules[pattern] = dict(_read_rule(rule, at, resolvers))
    return Policy(version, _ranked(rules), dict(resolvers))


def _read_pattern(text: str, at: str) -> Tokens:
    try:
        tokens = parse_pointer("/" + text if text == "**" or text.startswith("**/") else text)
    except InvalidPointer as invalid:
        raise PolicyError(at, str(invalid)) from None
    if len(tokens) > PATTERN_TOKENS_MAX:
        raise PolicyError(at, f"a pattern has more than {PATTERN_TOKENS_MAX} tokens")
    return tuple([t for i, t in enumerate(tokens) if t != "**" or tokens[i - 1 : i] != ("**",)])


def _ranked(rules: Mapping[Tokens, Mapping[str, Any]]) -> _Rules:
    return tuple(sorted(rules.items(), key=lambda entry: _rank(entry[0])))


def _rank(pattern: Tokens) -> tuple[Any, ...]:
    """Order patterns, the most specific first: by names, by `*`, by `**`, by names further to the front."""
    one, many = pattern.count("*"), pattern.count("**")
    wild = [{"*": 1, "**": 2}.get(token, 0) for token in pattern]
    return (one + many - len(pattern), -one, many, wild, pattern)


def _read_rule(rule: Json, at: str, resolvers: Mapping[str, Resolver]) -> Iterator[tuple[str, Any]]:
    _check_members(rule, at, (*_WORDS, "resolver"))
    for name, word in rule.items():
        where = at + format_pointer([name])
        if name == "resolver":
            if type(word) is not str or word not in resolvers:
                raise PolicyError(where, f"{_shown(word)} is no registered resolver", sorted(resolvers))
            yield name, word
        elif type(word) is dict and name == "array":
            _check_members(word, where, ("keyed",), all_of_them=True)
            yield "array", "keyed"
            yield "key", _read_key(word["keyed"], where + "/keyed")
        elif type(word) is dict and name == "string":
            _check_members(word, where, ("text",), all_of_them=True)
            yield "text", _read_word(word["text"], where + "/text", "text", _UNITS)
        elif name == "string":
            _read_word(word, where, name, _WORDS[name])
            yield "text", None
        else:
            yield name, _read_word(word, where, name, _WORDS[name])
            if name == "array":
                yield "key", ()


_WORDS: Final = {
    "object": ("merge", "atomic"),
    "replace": ("opaque", "deep"),
    "array": ("list", "set", "log", "lines", "atomic"),
    "order": ("free", "strict"),
    "keys": ("infer", "off", "strict"),
    "scalar": ("conflict", "theirs", "yours", "max", "min", "newest", "sum", "exclusive"),
    "string": ("atomic",),
}
_UNITS: Final = ("lines", "words", "characters")


def _read_word(word: Json, where: str, name: str, known: tuple[str, ...]) -> str:
    if type(word) is not str or word not in known:
        more = {"array": ('{"keyed": [...]}',), "string": ('{"text": ...}',)}.get(name, ())
        raise PolicyError(where, f'{_shown(word)} is no word for "{name}"', (*known, *more))
    return word


def _read_key(key: Json, where: str) -> tuple[str, ...]:
    if type(key) is not list or not key or not all(type(name) is str for name in key):
        raise PolicyError(where, "a key is an array of member names, one or more")
    if len(key) > KEY_FIELDS_MAX or len(set(key)) < len(key):
        raise PolicyError(where, f"a key has up to {KEY_FIELDS_MAX} members, all different")
    return tuple(key)


def _check_members(value: Json, at: str, known: tuple[str, ...], *, all_of_them: bool = False) -> None:
    if type(value) is not dict:
        raise PolicyError(at, f"{_shown(value)} is not an object", known)
    for name in value:
        if name not in known:
            raise PolicyError(at + format_pointer([str(name)]), f"{_shown(name)} is not known here", known)
    if all_of_them and len(value) < len(known):
        raise PolicyError(at, "is empty", known)


def _shown(value: Json) -> str:
    if type(value) is dict or type(value) is list:
        return "an object" if type(value) is dict else "an array"
    return repr(value)[:60]


# Writing.


def _format_pattern(pattern: Tokens) -> str:
    return "**" if pattern == ("**",) else format_pointer(pattern)


def _written(stated: Mapping[str, Any]) -> dict[str, Json]:
    written: dict[str, Json] = {}
    for name, word in stated.items():
        if name == "text":
            written["string"] = "atomic" if word is None else {"text": word}
        elif name == "array" and word == "keyed":
            written["array"] = {"keyed": list(stated["key"])}
        elif name != "key":
            written[name] = word
    return written


def policy_schema() -> dict[str, Json]:
    """Return the JSON Schema (2020-12) of what `Policy.read` takes; resolvers' names are strings to it."""
    words: dict[str, Json] = {name: {"enum": list(known)} for name, known in _WORDS.items()}
    key = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "maxItems": KEY_FIELDS_MAX,
        "uniqueItems": True,
    }
    words["array"] = {"oneOf": [words["array"], _only("keyed", key)]}
    words["string"] = {"oneOf": [words["string"], _only("text", {"enum": list(_UNITS)})]}
    words["resolver"] = {"type": "string"}
    rule = {"type": "object", "properties": words, "additionalProperties": False}
    patterns = {"pattern": r"^(\*\*)?(/([^~]|~[01])*)?$"}
    rules = {
        "type": "object",
        "propertyNames": patterns,
        "additionalProperties": rule,
        "maxProperties": RULES_MAX,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"version": {"type": ["integer", "string", "null"]}, "rules": rules},
        "additionalProperties": False,
    }


def _only(name: str, schema: Json) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }
