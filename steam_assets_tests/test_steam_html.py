"""Steam's HTML and BBCode as a reader sees them, whatever the markup."""

import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steam_assets.encoder.steam_html import steam_html

REAL_APPLICATIONS = Path(__file__).resolve().parents[2] / "shared/data/steam/applications.jsonl.gz"

PAGE = """\
<h2 class="bb_tag">Tea &amp; Thunder</h2><p class="bb_paragraph"><i>&quot;Brew&#x21;&quot;</i> says the
d<strong>r</strong>agon.</p><!-- draft --><img class="bb_img" src="https://shared.akamai.steamstatic.com/1.png" />\
<ul class="bb_ul"><li>Two cups<br></li><li>One\xa0&nbsp;pot</ul>Free &lt;b&gt; refills\r
<script>track("page")</script><a href="https://example.com/?a=1&amp;b=2">Menu</a>"""
READ = """\
Tea & Thunder

"Brew!" says the
dragon.
Two cups
One pot
Free <b> refills
Menu"""


def test_a_store_page_reads_as_a_reader_sees_it() -> None:
    """Headings, paragraphs, lists, images, links, scripts and references, all at once."""
    assert steam_html(PAGE) == READ


@pytest.mark.parametrize(
    ("source", "read"),
    [
        (
            "&amp; &lt; &#65; &#x1F375; &eacute; &nbsp;x",
            "& < A \N{TEACUP WITHOUT HANDLE} \N{LATIN SMALL LETTER E WITH ACUTE} x",
        ),
        ("&amp;amp; &amp;lt;b&amp;gt;", "&amp; &lt;b&gt;"),
        ("AT&T D&D R&amp;D &nosuch; &", "AT&T D&D R&D &nosuch; &"),
    ],
)
def test_character_references_are_decoded_once(source: str, read: str) -> None:
    """As a browser does, which leaves a twice escaped text escaped once, and an ampersand that means itself alone."""
    assert steam_html(source) == read


@pytest.mark.parametrize(
    "source",
    [
        "<p>one</p><p>two</p>",
        "<div>one</div>two",
        "one<h2>two</h2>",
        "<ul><li>one<li>two</ul>",
        "one<br>two",
        "one<BR/>two",
        "one<hr>two",
        "<tr><td>one</td></tr><tr><td>two</td></tr>",
        "<table><tr><td>one<td>two</table>",
        "one<img src=x>two",
        "one<iframe src=x>hidden</iframe>two",
        "[h1]one[/h1]two",
        "[list][*]one[*]two[/list]",
        "[tr][td]one[/td][td]two[/td][/tr]",
        "[p]one[/p][p]two[/p]",
        "one[hr][/hr]two",
        "one[img]https://example.com/a.png[/img]two",
    ],
)
def test_neighbouring_blocks_items_and_cells_do_not_fuse(source: str) -> None:
    """Two words on the page are two words for the model."""
    assert steam_html(source).split() == ["one", "two"]


@pytest.mark.parametrize(
    "source",
    [
        "<b>w</b>ord",
        "w<span>or</span>d",
        "w<!-- x -->ord",
        "w[b]or[/b]d",
        "[i]w[/i]ord",
        "w<a href=x>or</a>d",
        "wo<wbr>rd",
    ],
)
def test_inline_markup_does_not_split_a_word(source: str) -> None:
    """A bold letter is part of its word."""
    assert steam_html(source) == "word"


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>if (a < b) { document.write('<p>hidden</p>') }</script>",
        "<style>p > a { color: red }</style>",
        "<noscript><p>hidden</noscript>",
        "<template><p>hidden<template>hidden</template>hidden</script>hidden</template>",
        "<iframe src='https://example.com'>hidden</iframe>",
        "<!-- <b>hidden</b> -->",
        "<!doctype html>",
        "<?hidden?>",
        "<img alt='hidden > hidden' src=https://shared.akamai.steamstatic.com/hidden.png>",
        "[img]https://example.com/hidden.png[/img]",
        "[IMG]\n{STEAM_CLAN_IMAGE}/1/hidden.png\n[/img]",
        '[img src="https://example.com/hidden.png"][/img]',
        "[img]https://example.com/nobody-closed-this.png",
        "[previewyoutube=hidden;full][/previewyoutube]",
        '[dynamiclink href="https://example.com/hidden"][/dynamiclink]',
    ],
)
def test_what_no_reader_sees_is_gone(hidden: str) -> None:
    """Scripts, styles, comments, alternative texts and the addresses of images."""
    assert steam_html(f"before {hidden} after") == "before after"


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ('<a href="https://example.com">the manual</a>', "the manual"),
        ("[url=https://example.com/?a=1&amp;b]the manual[/url]", "the manual"),
        ("[URL=https://example.com]the manual[/Url]", "the manual"),
        ("[url]example.com[/url]", "example.com"),
    ],
)
def test_the_text_of_a_link_stays_and_its_address_goes(source: str, read: str) -> None:
    """An address that is itself the text is read, so it stays."""
    assert steam_html(source) == read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("[B]loud[/b] [strike]no[/strike] [spoiler]he dies[/spoiler]", "loud no he dies"),
        ("[b]never closed and [/i] never opened", "never closed and never opened"),
        ("[table noborder=1][tr][th]Cup[/th][th]Pot[/th][/tr][tr][td]1[/td][td]2[/td][/tr][/table]", "Cup Pot\n1 2"),
        ("[quote=somebody;123]Lovely.[/quote]", "Lovely."),
        ("[olist][*]one[*][b]two[/b][/olist]three", "one\ntwo\nthree"),
        ("[noparse][b]not bold[/b]&amp;<br>[img]x[/img][/noparse][b]bold[/b]", "[b]not bold[/b]&\n[img]x[/img]bold"),
        ("[noparse][b]not closed", "not closed"),
        ('[p align="start"]One.[/p][p]Two.[/p]', "One.\n\nTwo."),
    ],
)
def test_bbcode_reads_as_steam_shows_it(source: str, read: str) -> None:
    """Tags in either case, with values, unbalanced, and [noparse], inside which only HTML is markup."""
    assert steam_html(source) == read


@pytest.mark.parametrize(
    "text",
    [
        "a < b and b > c",
        "5<6",
        "I <3 this",
        "HP <max, and so on to the end",
        "[10/10] [sic] [EDIT] [x] x[1] [] [/] [h9] [b movie] [i=0] [url",
        "[\N{LATIN SMALL LETTER LONG S}poiler] [\N{LATIN SMALL LETTER DOTLESS I}]",
        "Hot & cold; 1 & 2 &",
        ":-> ->> =< >_<",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    """Comparisons, hearts, scores and remarks in brackets are the author's words."""
    assert steam_html(text) == text


def test_an_unknown_tag_is_a_tag_as_in_a_browser() -> None:
    """An author who means "C++ <vector>" sees on the page that it is gone, and writes &lt;vector&gt;."""
    assert steam_html("C++ <vector> and x<y and z>w") == "C++ and xw"
    assert steam_html("C++ &lt;vector&gt;") == "C++ <vector>"


def test_an_escaped_bracket_is_a_bracket() -> None:
    """BBCode is looked for after references are decoded; Steam never writes one for a bracket."""
    assert steam_html("&#91;b]x") == "x"


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("  a \t b\f c\xa0\xa0d  ", "a b c d"),
        ("a\r\nb\rc\n\n\n\n\nd", "a\nb\nc\n\nd"),
        ("a \n \n \n b", "a\n\nb"),
        ("a<br><br> <br>\r\n<br>b", "a\n\nb"),
        ("<div><div>a</div></div><div>b</div>", "a\nb"),
        ("<ul>\n  <li>a</li>\n  <li>b</li>\n</ul>", "a\nb"),
        (" \n&nbsp;<p> </p>\v", ""),
        ("", ""),
    ],
)
def test_white_space_is_one_space_one_line_break_or_one_blank_line(source: str, read: str) -> None:
    """Indented markup, Windows line ends and non-breaking spaces cost no tokens."""
    assert steam_html(source) == read


OTHER_SCRIPTS = [
    "\u8336\u3068\u96f7\u3000\u300c\u6df9\u308c\u308d\uff01\u300d",  # Japanese, with its own space
    "\u0686\u0627\u06cc\u200c\u0647\u0627\u06cc \u062e\u0648\u0634",  # Persian, joined by a zero-width non-joiner
    "\u0447\u0430\u0439 \u0438 \u0433\u0440\u043e\u043c\u0430\u0301",  # Cyrillic with a combining accent
    "\u0915\u094d\u200d\u0937",  # Devanagari with a zero-width joiner
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f3f4\u200d\u2620\ufe0f",  # joined emoji, selectors
    "10\u202f000 \ufeff\u200b\u00ad",  # a narrow space in a number, and characters that nobody sees
]


@pytest.mark.parametrize("text", OTHER_SCRIPTS)
def test_no_script_is_harmed(text: str) -> None:
    """Plain, between tags and inside a block, every character is the one that was stored."""
    assert steam_html(text) == text
    assert steam_html(f"<p><b>{text}</b>[i]{text}[/i]</p>") == text + text


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "\udc00", "x\x1fy\x85z\u2028"])
@pytest.mark.parametrize("around", ["{}", "<b>{}</b>&lt;", "[b]{}[/b]<br>", "<p {}>", "<!--{}-->", "[url={}]", "&{};"])
def test_characters_that_no_text_should_have_raise_nothing(text: str, around: str) -> None:
    """NUL and lone surrogates are the tokenizer's to report: here they stay where text stays."""
    read = steam_html(around.format(text))
    assert text in read or "<p" in around or "<!" in around or "url" in around


CHARACTERS = [*"<>&[]/=\"'!;# \n\v\r\xa0ab*\u8336\u0131\ud800\0", "--", "img", "https://x"]
TAG_PIECES = ["<p>", "</p>", "<b", "<!--", "-->", "<script>", "</script>", "<template>", "</template>", "&amp;", "&lt"]
BBCODE_PIECES = ["[b]", "[/b]", "[img]", "[/img]", "[noparse]", "[/noparse]", "[url=", "[td a="]
MARKUP = st.lists(st.sampled_from([*CHARACTERS, *TAG_PIECES, *BBCODE_PIECES]), max_size=40).map("".join)


@given(st.one_of(st.text(), MARKUP))
def test_any_text_has_a_reading_that_reads_the_same_again(text: str) -> None:
    """Nothing is raised, white space is settled, and what holds no markup is not changed a second time."""
    read = steam_html(text)
    assert read == read.strip(" \n")
    assert not re.search(r"  |\n\n\n| \n|\n |[\t\f\v\r\xa0]", read)
    assume(not set("<&[") & set(read))
    assert steam_html(read) == read


INLINE = ["<b>", "</b>", "<a href='https://x/?a=[b]&b'>", "<img src=x>", "<!-- x -->", "<script>x</script>", "<x y>"]
BLOCKS = ["<p class='x'>", "</p>", "<br/>", "<LI>", "</ul>", "<td>", "</div>", "[hr]", "[H1]", "[*]", "[tr]", "[td]"]
BBCODE = ["[b]", "[/b]", "[url=https://x]", "[/url]", "[img]https://x[/img]", "[quote=x]", "[/p]", "[p align=x]"]
WORDS = st.text(st.characters(categories=("L", "N", "M", "P", "S"), exclude_characters="<>&[]"), min_size=1)


@given(st.lists(st.tuples(WORDS, st.lists(st.sampled_from([*INLINE, *BLOCKS, *BBCODE])))))
def test_every_visible_word_survives_in_order_and_no_tag_does(page: list[tuple[str, list[str]]]) -> None:
    """Whatever well-formed tags stand around and between words, the words are what is left."""
    assert "".join(steam_html("".join(word + "".join(tags) for word, tags in page)).split()) == "".join(
        word for word, _ in page
    )


def repeated(unit: str) -> Callable[[int], str]:
    """A text of about so many characters, all of it ``unit``."""
    return lambda size: unit * (size // len(unit))


def halves(first: str, second: str) -> Callable[[int], str]:
    """Half a text of ``first``, half of ``second``."""
    return lambda size: first * (size // 2 // len(first)) + second * (size // 2 // len(second))


HOSTILE = {
    "nested blocks": repeated("<div>"),
    "nested formatting": repeated("<b>x<p>"),
    "end tags that end nothing": halves("<span>", "</i>"),
    "inline elements around blocks": halves("<b>", "<div>x</div>"),
    "formatting opened again in every paragraph": lambda n: (
        "".join(f"<b a={i}>" for i in range(n // 16)) + "x<p>" * (n // 8)
    ),
    "tables in tables": repeated("<table>x<tr>"),
    "selects": repeated("<select><option>x"),
    "comments that do not end": repeated("<!--"),
    "less-than signs": repeated("<"),
    "tags that do not end": repeated("<a "),
    "quotes that do not end": repeated('<a b="'),
    "one tag of attributes": lambda n: "<a " + "b c=" * (n // 4) + ">",
    "scripts that almost end": repeated("<script></scrip"),
    "templates": repeated("<template>"),
    "ampersands": repeated("&"),
    "references without end": repeated("&#x"),
    "brackets": repeated("["),
    "bold": repeated("[b]"),
    "links that do not end": repeated("[url="),
    "images that do not end": repeated("[img]"),
    "literals that do not end": repeated("[noparse]"),
    "a bracket and spaces": halves("[p", " "),
    "spaces and lines": repeated(" \n \v"),
    "one run of spaces": halves(" ", "x "),
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_hostile_markup_takes_linear_time(shape: str) -> None:
    """Eight times the text takes about eight times as long; quadratic would be sixty-four."""

    def seconds(size: int) -> float:
        text = HOSTILE[shape](size)
        times = []
        for _ in range(3):
            started = time.process_time()
            steam_html(text)
            times.append(time.process_time() - started)
        return min(times)

    small, large = seconds(25_000), seconds(200_000)
    assert large < 24 * small + 0.01


def test_deep_nesting_loses_no_text() -> None:
    """Parsers that give up at a depth, or cut a long text, would."""
    words = [f"w{i}" for i in range(20_000)]
    assert steam_html("<div><b>".join(words)).split() == words
    assert steam_html("<p>" + "x" * 3_000_000 + "</p>") == "x" * 3_000_000


@pytest.fixture(scope="module")
def real_pages() -> list[str]:
    """Name, short description and long one of every shared row, joined as the database does."""
    if not REAL_APPLICATIONS.exists():
        pytest.skip("the real Steam rows are not beside this checkout (../shared/data/steam)")
    with gzip.open(REAL_APPLICATIONS, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        " ".join(row.get(column) or "" for column in ("name", "short_description", "about_the_game")) for row in rows
    ]


def test_real_pages_keep_their_words_and_lose_their_markup(real_pages: list[str]) -> None:
    """5,858 rows: no tag, reference, known BBCode or image address is left, and no row becomes empty."""
    assert len(real_pages) == 5_858
    left = re.compile(r"<(?:br|p|li|img|strong|h[12])\b|&(?:quot|amp|nbsp);|\[/?(?:h1|b|url|list)\]|steamstatic", re.I)
    for page in real_pages:
        read = steam_html(page)
        assert not left.search(read)
        assert bool(read.strip()) == bool(page.strip())
        if not set("<&[") & set(page):
            assert read.split() == page.split()
