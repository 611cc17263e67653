"""One value of a file as COPY takes it for a column's type, or BadValue. Knows nothing of files and tables."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

Converter = Callable[[object], str]
"""A value that is not None -> its text for COPY, before escaping; raises BadValue."""

INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64}
TRUE = frozenset({"true", "t", "yes", "1", "1.0"})
FALSE = frozenset({"false", "f", "no", "0", "0.0"})
SHOWN_CHARACTERS = 40

WHOLE = re.compile(r"\s*([+-]?0*\d{1,19})(?:\.0*)?\s*", re.ASCII)
SIZED = re.compile(r"(numeric|character varying|character)\((\d+)(?:,(-?\d+))?\)")
# Own months: strptime's follow the process's locale. "1 May, 2003", "May 1, 2003".
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_FIRST = re.compile(r"(\d{1,2}) ([a-z]{3})[a-z]*\.?,? (\d{4})")
MONTH_FIRST = re.compile(r"([a-z]{3})[a-z]*\.? (\d{1,2}),? (\d{4})")
# Steam's API answers {"coming_soon": false, "date": "1 May, 2003"}; some files hold that as text or Python's repr.
QUOTED_DATE = re.compile(r"""["']date["']\s*:\s*["']([^"']*)["']""")


class BadValue(ValueError):
    """A value that its column cannot hold; the message fits behind the column's name."""


class NotADate(BadValue):
    """Text where a date is expected, such as "Coming soon": no fault of the row."""


def converter(column_type: str, labels: tuple[str, ...] = ()) -> Converter | None:
    """The conversion for a type as format_type() writes it; None for types that files do not fill, such as vectors."""
    if labels:
        return lambda value: _enum(value, labels)
    if column_type in INTEGER_BITS:
        limit = 1 << (INTEGER_BITS[column_type] - 1)
        return lambda value: _whole(value, limit)
    if sized := SIZED.fullmatch(column_type):
        kind, size, scale = sized[1], int(sized[2]), int(sized[3] or 0)
        if kind == "numeric":
            return lambda value: _numeric(value, size, scale)
        return lambda value: _short_text(value, size)
    return CONVERTERS.get(column_type)


def whole_number_text(value: object) -> str:
    """A text id that pandas may have turned into a number: 12345.0 -> "12345"; any other text as it is."""
    text = _text(value)
    match = WHOLE.fullmatch(text)
    return match[1] if match and "." in text else text


def shown(value: object) -> str:
    """A value as a message quotes it."""
    text = str(value)
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")


def _text(value: object) -> str:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, default=float)
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:
        raise BadValue("holds a NUL byte, which PostgreSQL's text cannot")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = ord(text[error.start])
            found = (
                f"byte 0x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"half a surrogate pair, U+{code:04X}"
            )
            raise BadValue(f"is not UTF-8: {found} at character {error.start + 1}") from None
    return text


def _short_text(value: object, size: int) -> str:
    text = _text(value)
    if len(text) > size:
        raise BadValue(f"has {len(text)} characters; the column holds {size}")
    return text


def _enum(value: object, labels: tuple[str, ...]) -> str:
    text = _text(value).strip()
    for label in (text, text.lower()):
        if label in labels:
            return label
    raise BadValue(f"is {shown(value)}; expected one of {', '.join(labels)}")


def _whole(value: object, limit: int) -> str:
    match = None if isinstance(value, bool) else WHOLE.fullmatch(str(value))
    if match is None:
        raise BadValue(f"is {shown(value)}; expected a whole number")
    number = int(match[1])
    if not -limit <= number < limit:
        raise BadValue(f"is {number}; expected {-limit} to {limit - 1}")
    return str(number)


def _boolean(value: object) -> str:
    text = str(value).strip().lower()
    if text in TRUE:
        return "t"
    if text in FALSE:
        return "f"
    raise BadValue(f"is {shown(value)}; expected true or false")


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal("nan") if isinstance(value, bool) else Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise BadValue(f"is {shown(value)}; expected a number")
    return number


def _numeric(value: object, precision: int, scale: int) -> str:
    number = _decimal(value)
    # adjusted() is the power of ten of the first digit; a value that rounds up to the limit is left to the server.
    if number and number.adjusted() >= precision - scale:
        raise BadValue(f"is {shown(value)}; expected less than 10^{precision - scale}")
    return str(number)


def _floating(value: object) -> str:
    number = float(_decimal(value))
    if not math.isfinite(number):
        raise BadValue(f"is {shown(value)}; too large for a float")
    return repr(number)


def _date(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("date") or ""
    text = str(value).strip().lower()
    if quoted := QUOTED_DATE.search(text):
        text = quoted[1].strip()
    try:
        if match := DAY_FIRST.fullmatch(text):
            return date(int(match[3]), _month(match[2]), int(match[1])).isoformat()
        if match := MONTH_FIRST.fullmatch(text):
            return date(int(match[3]), _month(match[1]), int(match[2])).isoformat()
        return datetime.fromisoformat(text.upper()).date().isoformat()
    except ValueError:
        raise NotADate(f"is {shown(value)}; expected a date such as 2003-05-01 or 1 May, 2003") from None


def _month(name: str) -> int:
    return MONTHS.index(name) + 1


def _timestamp(value: object) -> str:
    """In UTC, so that the session's time zone has no say."""
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise BadValue(f"is {shown(value)}; expected a time such as 2025-09-07 13:15:33+00:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(sep=" ")


def _timestamp_without_zone(value: object) -> str:
    return _timestamp(value).removesuffix("+00:00")


def _jsonb(value: object) -> str:
    if isinstance(value, str):
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            raise BadValue(f"is {shown(value)}; expected JSON") from None
        return _text(value)
    return _text(json.dumps(value, ensure_ascii=False, default=float))


CONVERTERS: dict[str, Converter] = {
    "text": _text,
    "character varying": _text,
    "boolean": _boolean,
    "numeric": lambda value: str(_decimal(value)),
    "real": _floating,
    "double precision": _floating,
    "date": _date,
    "timestamp with time zone": _timestamp,
    "timestamp without time zone": _timestamp_without_zone,
    "jsonb": _jsonb,
}
