"""Reviews for the sample catalogue, as uneven as real ones: a word or a wall, ten languages, BBCode, art, nothing."""

from steam_assets.sample import phrases
from steam_assets.sample.dice import Dice
from steam_assets.sample.themes import Theme

Row = dict[str, object]

MAX_CHARACTERS = 8_000
"""Steam's own limit."""
BLANKS = (None, "", "   ", "\n\n", "\t")
HAPPY = (" ❤️", " 🔥🔥", " 😂", " 👍👍👍", " :)", " 🐱", " ⭐⭐⭐⭐⭐")
UNHAPPY = (" 👎", " 😡", " :(", " 😭😭", " 💀", " 🤡")
# Of a hundred reviews; the rest is English. Steam's figures are near these.
LANGUAGE_PERCENT = {
    "russian": 9,
    "schinese": 9,
    "spanish": 5,
    "german": 5,
    "brazilian": 5,
    "japanese": 3,
    "french": 3,
    "koreana": 2,
    "polish": 2,
}
UNSPACED = frozenset({"schinese", "japanese"})
FIRST_DAY_S = 1_290_000_000
LAST_DAY_S = 1_757_000_000


def write_review(dice: Dice, theme: Theme, game: str) -> Row:
    """What a player leaves: text, verdict, language and the numbers around it."""
    liked = dice.chance(78)
    language = _language(dice)
    created = dice.between(FIRST_DAY_S, LAST_DAY_S)
    playtime = dice.between(5, 400) * dice.between(1, 300)
    return {
        "language": language,
        "review_text": _text(dice, theme, game, language, liked),
        "voted_up": liked,
        "timestamp_created": created,
        "timestamp_updated": created + (dice.between(60, 9_000_000) if dice.chance(15) else 0),
        "author_playtime_forever": playtime,
        "author_playtime_at_review": 1 + dice.below(playtime),
        "votes_up": dice.below(dice.below(200) + 1),
        "votes_funny": dice.below(dice.below(30) + 1),
        "weighted_vote_score": f"0.{dice.between(40, 95)}{dice.below(1_000_000):06d}",
        "comment_count": dice.below(dice.below(6) + 1),
        "steam_purchase": dice.chance(85),
        "received_for_free": dice.chance(4),
        "written_during_early_access": dice.chance(12),
    }


def _language(dice: Dice) -> str:
    roll = dice.below(100)
    for language, percent in LANGUAGE_PERCENT.items():
        if roll < percent:
            return language
        roll -= percent
    return "english"


def _text(dice: Dice, theme: Theme, game: str, language: str, liked: bool) -> str | None:
    roll = dice.below(1_000)
    if roll < 15:
        return dice.one(BLANKS)
    if roll < 105:
        return dice.one(phrases.ONE_WORD)
    if roll < 120:
        return dice.one(phrases.COPYPASTA)
    if roll < 132:
        return dice.one(phrases.ASCII_ART)
    if roll < 138:
        return (dice.one(("BUY THIS ", "good game ", "⣿⣿⣷⣄⠀", "hahaha", "🔥")) * 2_000)[
            : dice.between(300, MAX_CHARACTERS)
        ]
    if language != "english":
        return _finished(dice, _foreign(dice, language, game, liked), liked)
    if roll < 650:
        said = " ".join(_some_sentences(dice, theme, game, liked, 1 if dice.chance(25) else dice.between(2, 3)))
    elif roll < 880:
        said = _paragraph(dice, theme, game, liked, dice.between(3, 6))
    elif roll < 980:
        said = _essay(dice, theme, game, liked, sections=dice.between(2, 4), sentences=4)
    else:
        said = _essay(dice, theme, game, liked, sections=dice.between(6, 10), sentences=9)
    return _finished(dice, said, liked)


def _foreign(dice: Dice, language: str, game: str, liked: bool) -> str:
    good, bad = phrases.LANGUAGES[language]
    said = dice.some(good if liked else bad, dice.between(1, 2 + dice.below(7)))
    if len(said) > 3 and dice.chance(40):
        said.insert(-1, dice.one(bad if liked else good))
    if language in UNSPACED:
        return (f"《{game}》" if dice.chance(40) else "") + "".join(said)
    return (f"{game}: " if dice.chance(40) else "") + " ".join(said)


def _some_sentences(dice: Dice, theme: Theme, game: str, liked: bool, count: int) -> list[str]:
    """Different sentences of one opinion, about this kind of game and about games in general."""
    own = dice.some(theme.praise if liked else theme.gripe, 1 + count // 3)
    acts = dice.some(theme.act, 1 + count // 4)
    doing = dice.some(phrases.ABOUT_ACTIVITY, len(acts)) if liked else []
    general = dice.some(phrases.GOOD if liked else phrases.BAD, count)
    told = [_filled(dice, theme, game, line, act) for line, act in zip(doing, acts, strict=False)]
    every = own + told + [_filled(dice, theme, game, line) for line in general]
    # The first of these is of the theme, so that a short review is about something.
    return [every[0], *dice.some(every[1:], count - 1)]


def _paragraph(dice: Dice, theme: Theme, game: str, liked: bool, count: int) -> str:
    opener = _filled(dice, theme, game, dice.one(phrases.OPENERS))
    said = _some_sentences(dice, theme, game, liked, count)
    if dice.chance(50):
        other = _some_sentences(dice, theme, game, not liked, 1)[0]
        said.append(f"{'The only thing I did not like' if liked else 'To be fair'}: {other[0].lower()}{other[1:]}")
    return " ".join([opener, *said, _verdict(dice, theme, game, liked)])


def _essay(dice: Dice, theme: Theme, game: str, liked: bool, sections: int, sentences: int) -> str:
    """Sections under headings, in BBCode or with plain titles; no sentence twice."""
    written: set[str] = set()
    bbcode = dice.chance(50)
    parts = [_filled(dice, theme, game, dice.one(phrases.OPENERS))]
    for heading in dice.some(phrases.HEADINGS, sections):
        said = _some_sentences(dice, theme, game, liked or dice.chance(30), sentences)
        fresh = [sentence for sentence in said if sentence not in written]
        written.update(fresh)
        if fresh:
            parts.append(f"[h1]{heading}[/h1]" if bbcode else f"{heading}:")
            parts.append(_list_or_text(dice, fresh) if bbcode else " ".join(fresh))
    verdict = _verdict(dice, theme, game, liked)
    parts.append(f"[b]{verdict}[/b]" if bbcode else verdict)
    return "\n\n".join(parts)


def _list_or_text(dice: Dice, sentences: list[str]) -> str:
    roll = dice.below(10)
    if roll < 3:
        return "[list]\n" + "\n".join(f"[*]{sentence}" for sentence in sentences) + "\n[/list]"
    if roll == 3:
        return f"[spoiler]{sentences[0]}[/spoiler] " + " ".join(sentences[1:])
    return " ".join(sentences)


def _verdict(dice: Dice, theme: Theme, game: str, liked: bool) -> str:
    return _filled(dice, theme, game, dice.one(phrases.VERDICTS_GOOD if liked else phrases.VERDICTS_BAD))


def _filled(dice: Dice, theme: Theme, game: str, line: str, act: str = "") -> str:
    return line.format(game=game, genre=dice.one(theme.genre), hours=dice.between(3, 900), act=act)


def _finished(dice: Dice, text: str, liked: bool) -> str:
    """As it was typed: carriage returns, no capitals, emoji."""
    roll = dice.below(100)
    if roll < 10:
        text = text.replace("\n", "\r\n").replace(". ", ".\r\n", 1)
    elif roll < 17:
        text = text.lower().replace(".", "")
    elif roll < 27:
        text += dice.one(HAPPY if liked else UNHAPPY)
    return text[:MAX_CHARACTERS]
