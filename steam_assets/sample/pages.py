"""Store pages for the sample catalogue: names, short descriptions and HTML, composed from a theme's fragments."""

from html import escape

from steam_assets.sample.dice import Dice
from steam_assets.sample.themes import Theme

Row = dict[str, object]

SEQUELS = ("2", "II", "3", "Deluxe", "VR", "Remastered", "Stories", "Online", "Origins", "Unlimited")
NUMBERS = (6, 8, 12, 15, 16, 20, 24, 25, 30, 36, 40, 50, 60)
HEADINGS = (
    "Features",
    "About the game",
    "What awaits you",
    "Why you will stay",
    "Key features",
    "In this game you will",
)
NEWS = (
    "Now with full controller support",
    "Free update out now",
    "Winner of our own hearts",
    "Join our community & tell us what you think",
    "Roadmap: what comes next",
)
PLAIN_FEATURES = (
    "Full controller support",
    "Cloud saves & achievements",
    'No "always online": plays offline',
    "Made by {n} people in four years",
    "Soundtrack by a real orchestra of {n} players",
    "Steam Workshop support",
    "Difficulty you can change at any time",
    "Native on three systems",
)
SECTIONS = (
    "Some days you {a}. Other days you {b}, and {who} will thank you for it.",
    "Nothing in {place} comes easily. First {a}, then {b}, and only then {c}.",
    "Learn to {a} the hard way, or find somebody who can {b} for you.",
    "There is always a reason to {a}: {b}, {c}, or do both at once.",
    "Nobody forces you to {a}. But whoever wants to {b} should know how to {c}.",
    "Begin with what you have. {A}. Later you {b} and {c}, and what was hard becomes a habit.",
    "{A} alone or together. {B} when you feel ready. And if it goes wrong, {c} and try once more.",
)
# fmt: off
PREPOSITIONS = frozenset({
    "against", "among", "as", "at", "because", "before", "below", "far", "for", "from", "in", "of", "on", "through",
    "to", "under", "until", "while", "with", "without",
})
# fmt: on
CLOSINGS = (
    "Made by a team of {n} who couldn't find the game they wanted to play.",
    "Please note: this game is in early access & will grow with your ideas.",
    "Your save carries over from the demo.",
    "There are no microtransactions and there won't be any.",
    "We read every review. Thank you for playing!",
)


def write_name(dice: Dice, theme: Theme) -> str:
    """A game's name; two calls may give the same one."""
    first = dice.one(theme.first)
    second, other = dice.some([word for word in theme.second if word != first], 2)
    shape = dice.below(10)
    if shape < 4:
        return f"{first} {second}"
    if shape < 6:
        return f"{first} {second}: {dice.one(theme.mood).title()} {other}"
    if shape == 6:
        return f"The {first} {second}"
    if shape == 7:
        return f"{second} & {other}"
    return f"{first} {second} {dice.one(SEQUELS)}"


def write_page(dice: Dice, theme: Theme, name: str, appid: int) -> Row:
    """What a store page says, beside id and name."""
    kind, short = _kind(dice, theme, name)
    about = _about(dice, theme, name, appid)
    free = kind == "demo" or dice.chance(12)
    price = 0 if free else 100 * dice.between(1, 60) - 1
    return {
        "type": kind,
        "is_free": free,
        "release_date": f"{dice.between(2008, 2025)}-{dice.between(1, 12):02d}-{dice.between(1, 28):02d}",
        "short_description": short,
        "about_the_game": about,
        "detailed_description": about if dice.chance(70) else f"<h1>{escape(dice.one(NEWS))}</h1><br>{about}",
        "genres": [*theme.store, *(["Free To Play"] if free else [])],
        "supported_languages": ", ".join(["English", *dice.some(("German", "French", "Russian", "Japanese"), 2)]),
        "mat_supports_windows": True,
        "mat_supports_mac": dice.chance(30),
        "mat_supports_linux": dice.chance(35),
        "mat_initial_price": price,
        "mat_final_price": price,
        "mat_currency": "USD",
        "mat_achievement_count": dice.below(80),
    }


def _kind(dice: Dice, theme: Theme, name: str) -> tuple[str, str]:
    short = _short(dice, theme)
    roll = dice.below(100)
    if roll < 5:
        return "dlc", f"{dice.one(('Supporter pack', 'Season pass', 'Cosmetic pack'))} for {name}. {short}"
    if roll < 9:
        return "demo", f"Try the first hour of {name} for free. {short}"
    if roll < 12:
        return "music", f"The soundtrack of {name}: {dice.between(9, 40)} tracks from the {dice.one(theme.genre)}."
    return "game", short


def _short(dice: Dice, theme: Theme) -> str:
    mood, genre = dice.one(theme.mood), dice.one(theme.genre)
    who, place, stakes = dice.one(theme.who), dice.one(theme.place), _stakes(dice, theme)
    a, b, c = dice.some(theme.act, 3)
    return dice.one(
        (
            f"{_sentence(_an(mood))} {genre} set in {place}. {_sentence(a)}, {b} and {c}{stakes}.",
            f"You are {who}. {_sentence(a)}, {b} and {c}{stakes}. {_sentence(_an(mood))} {genre}.",
            f"{_sentence(a)} and {b} in {place}: {_an(mood)} {genre} about {who}.",
            f"In {place}, you {a}, {b} and {c}{stakes}. {_sentence(_an(genre))} about {who}.",
            f"{_sentence(a)}. {_sentence(b)}. {_sentence(c)}. {_sentence(_an(mood))} {genre} from a small studio.",
            f"Follow {who} to {place}: {a} and {b}{stakes}.",
            f"What would you do in {place}? {_sentence(a)}, {b}, or {c}{stakes}. {_sentence(_an(genre))}.",
        )
    )


def _about(dice: Dice, theme: Theme, name: str, appid: int) -> str:
    """HTML as Steam has it: headings and lists with bb_ classes, images, line breaks, entities."""
    mood, genre, who, place = (dice.one(words) for words in (theme.mood, theme.genre, theme.who, theme.place))
    acts = dice.some(theme.act, 6)
    features = dice.some(theme.feature, dice.between(2, 3)) + dice.some(PLAIN_FEATURES, dice.between(0, 1))
    image = f'<img src="https://images.example/apps/{appid}/{dice.between(1, 9)}.jpg" alt="">'
    opening = dice.one(
        (
            f"<strong>{escape(name)}</strong> is {_an(mood)} {genre} about {who}.",
            f"In {place}, everything begins with {who}.",
            f"{_sentence(who)}. {_sentence(place)}. That is how <strong>{escape(name)}</strong> begins.",
            f"Welcome to {place}! In this {genre} you are {who}.",
        )
    )
    middle = dice.one(
        (
            f"{_sentence(acts[0])}, {acts[1]} and {acts[2]}{_stakes(dice, theme)}.",
            f"You will {acts[0]}, you will {acts[1]}, and sooner or later you will {acts[2]}.",
            f"Today you {acts[0]}; tomorrow you {acts[1]} and {acts[2]}{_stakes(dice, theme)}.",
        )
    )
    body = [f"{opening} {middle}"]
    if dice.chance(60):
        items = "".join(f"<li>{escape(_numbered(dice, feature))}</li>" for feature in features)
        body.append(f'<h2 class="bb_tag">{dice.one(HEADINGS)}</h2><ul class="bb_ul">{items}</ul>')
    if dice.chance(20):
        body.append(image)
    if dice.chance(35):
        rest = f"{_sentence(acts[3])} or {acts[4]}: it's up to you. Those who {acts[5]} will not regret it."
        body.append(rest if dice.chance(50) else f'<h2 class="bb_tag">{_sentence(acts[3])}</h2>{rest}')
    # One page in eight is long, as those of big games are.
    for template in dice.some(SECTIONS, dice.between(3, 7) if dice.chance(12) else 0):
        a, b, c = dice.some(theme.act, 3)
        told = template.format(a=a, b=b, c=c, A=_sentence(a), B=_sentence(b), who=dice.one(theme.who), place=place)
        body.append(f'<h2 class="bb_tag">{_sentence(dice.one(theme.act))}</h2>{told}')
    if dice.chance(25):
        body.append(escape(_numbered(dice, dice.one(CLOSINGS))))
    return "<br><br>".join(body)


def _stakes(dice: Dice, theme: Theme) -> str:
    stakes = dice.one(theme.stakes)
    return f" {stakes}" if stakes.split()[0] in PREPOSITIONS else f", {stakes}"


def _numbered(dice: Dice, text: str) -> str:
    """Fill in each {n}: a handful of people, more of anything else."""
    while "{n}" in text:
        people = any(word in text for word in ("friends", "players", "chefs", "engineers", "thieves", "Made by"))
        text = text.replace("{n}", str(dice.between(3, 8) if people else dice.one(NUMBERS)), 1)
    return text


def _an(words: str) -> str:
    return f"{'an' if words[0] in 'aeiouAEIO' else 'a'} {words}"


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
