"""The little language of filters, read into a tree: type = game and year >= 2015. Its SQL is filters.py."""

# filter     = all { "or" all }
# all        = one { "and" one }
# one        = "not" one | "(" filter ")" | comparison
# comparison = FLAG | FIELD operator value | FIELD [ "not" ] "in" "(" value { "," value } ")"
# operator   = "=" | "!=" | "<" | "<=" | ">" | ">="
# value      = bare word | 'text with blanks' | "text with blanks"

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from steam_assets.errors import SteamAssetsError

LONGEST_FILTER = 2_000
DEEPEST_FILTER = 50
"""Characters, and parentheses or words `not` inside each other: more than a person writes, less than hurts anybody."""

EXAMPLE = "type = game and genre in (Action, 'Massively Multiplayer') and year >= 2015 and price < 10"

# A doubled quote is one quote, as in SQL. What no other part takes is one character, which is an error.
TOKEN = re.compile(
    r"""\s*(?: (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" )
             | (?P<operator> <= | >= | != | <> | == | [=<>] )
             | (?P<mark> [(),] )
             | (?P<word> [^\s()=<>!,'"]+ )
             | (?P<wrong> \S )
             | $ )""",
    re.VERBOSE,
)
SAME_OPERATOR = {"==": "=", "<>": "!="}
QUOTES = ("'", '"')
YES, NO = ("true", "yes", "1"), ("false", "no", "0")

Value = str | Decimal | bool


class WrongFilter(SteamAssetsError):
    """A filter that cannot be understood, or not of this table."""


@dataclass(frozen=True)
class Kind:
    """What values a field has: how they are read, in which words they are asked for, and how they compare."""

    read: Callable[[str], Value | None]
    expected: str
    operators: tuple[str, ...]


def _word(text: str) -> str | None:
    return text.strip() or None


def _year(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"[0-9]{1,4}", text) else None


def _price(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,4})?", text) else None


def _flag(text: str) -> bool | None:
    return True if text.lower() in YES else False if text.lower() in NO else None


EQUAL, ORDERED = ("=", "!=", "in"), ("=", "!=", "<", "<=", ">", ">=", "in")
WORD = Kind(_word, "a word, or words in quotes", EQUAL)
FLAG = Kind(_flag, "true or false", ("=", "!="))
KINDS: dict[str, Kind] = {
    "type": WORD,
    "genre": WORD,
    "language": WORD,
    "year": Kind(_year, "a year such as 2015", ORDERED),
    "price": Kind(_price, "a number such as 9.99", ORDERED),
    "is_free": FLAG,
    "voted_up": FLAG,
}


@dataclass(frozen=True)
class Comparison:
    """A field and one value, or several for "in"."""

    field: str
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    """What is not so."""

    part: "Filter"


@dataclass(frozen=True)
class AllOf:
    """What all parts say."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True)
class AnyOf:
    """What at least one part says."""

    parts: "tuple[Filter, ...]"


Filter = Comparison | Not | AllOf | AnyOf


def read_filter(text: str) -> Filter:
    """The filter that a person wrote; raises WrongFilter with the place, the fields and an example."""
    if len(text) > LONGEST_FILTER:
        raise WrongFilter(f"The filter has {len(text):,} characters; expected at most {LONGEST_FILTER:,}.")
    reader = _Reader(text)
    found = reader.any_of(depth=0)
    if reader.kind != "end":
        raise reader.wrong("expected `and`, `or` or the end (text with blanks stands in quotes)")
    return found


class _Reader:
    """A place in the text: what stands there is ``kind`` and ``word``, and begins at ``start``."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self.step()

    def step(self) -> None:
        """Go on to the next token."""
        found = TOKEN.match(self._text, self._end)
        assert found is not None  # the last two parts of the pattern leave nothing out
        self.kind = found.lastgroup or "end"
        self.word = found[self.kind] if found.lastgroup else ""
        self.start = found.start(self.kind) if found.lastgroup else len(self._text)
        self._end = found.end()
        if self.kind == "wrong":
            raise self.wrong("this quote has no end" if self.word in QUOTES else "no such sign here")

    def wrong(self, what: str) -> WrongFilter:
        """The error of this place."""
        # repr: the text may hold what a terminal would obey.
        here = repr(self._text[self.start : self.start + 20]) if self.kind != "end" else "the end"
        return WrongFilter(
            f"The filter is wrong at character {self.start + 1}, {here}: {what}. Fields: {', '.join(KINDS)}. "
            f"For example: {EXAMPLE}"
        )

    def _at(self, *words: str) -> bool:
        return self.kind in ("word", "mark") and self.word.lower() in words

    def any_of(self, depth: int) -> Filter:
        parts = [self._all_of(depth)]
        while self._at("or"):
            self.step()
            parts.append(self._all_of(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._at("and"):
            self.step()
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self, depth: int) -> Filter:
        if depth > DEEPEST_FILTER:
            raise self.wrong(f"more than {DEEPEST_FILTER} parentheses or `not` inside each other")
        if self._at("not"):
            self.step()
            return Not(self._one(depth + 1))
        if self._at("("):
            self.step()
            inside = self.any_of(depth + 1)
            self._require(")")
            return inside
        return self._comparison()

    def _comparison(self) -> Filter:
        name = self.word.lower()
        if self.kind != "word" or name not in KINDS:
            raise self.wrong("expected a field" if self.kind != "word" else "no such field")
        kind = KINDS[name]
        self.step()
        if self._at("not"):
            self.step()
            return Not(self._one_of(name, kind))
        if self._at("in"):
            return self._one_of(name, kind)
        if self.kind != "operator":
            if kind is FLAG:
                return Comparison(name, "=", (True,))
            raise self.wrong(f"expected one of {' '.join(kind.operators)} after {name}")
        operator = SAME_OPERATOR.get(self.word, self.word)
        if operator not in kind.operators:
            raise self.wrong(f"{name} knows {' '.join(kind.operators)} only")
        self.step()
        return Comparison(name, operator, (self._value(name, kind),))

    def _one_of(self, name: str, kind: Kind) -> Comparison:
        if not self._at("in") or "in" not in kind.operators:
            raise self.wrong(f"expected one of {' '.join(kind.operators)} after {name}")
        self.step()
        self._require("(")
        values = [self._value(name, kind)]
        while self._at(","):
            self.step()
            values.append(self._value(name, kind))
        self._require(")")
        return Comparison(name, "in", tuple(values))

    def _value(self, name: str, kind: Kind) -> Value:
        text = self.word
        if self.kind == "quoted":
            text = text[1:-1].replace(text[0] * 2, text[0])
        value = kind.read(text) if self.kind in ("word", "quoted") and "\0" not in text else None
        if value is None:
            raise self.wrong(f"expected {kind.expected} for {name}")
        self.step()
        return value

    def _require(self, mark: str) -> None:
        if not self._at(mark):
            raise self.wrong(f"expected `{mark}`")
        self.step()
