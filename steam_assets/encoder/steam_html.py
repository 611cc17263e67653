"""What a reader of a Steam page sees, out of its HTML and BBCode. One pure function; preparation.py names it."""

import re
from io import StringIO

# Three ways to keep neighbours apart. SOFT asks for one line break however many blocks begin and end there, so that
# list items are lines; two LINEs make a blank line, so that paragraphs are. SOFT is white space: none survives.
SPACE, LINE, SOFT = " ", "\n", "\v"


def _by_name(names: dict[str, str]) -> dict[str, str]:
    """{" ": "td th"} as {"td": " ", "th": " "}."""
    return {name: gap for gap, listed in names.items() for name in listed.split()}


_HTML_GAPS = _by_name(
    {
        LINE: "blockquote br figure h1 h2 h3 h4 h5 h6 hr p pre table",
        SOFT: """address article aside body caption center dd details dialog dir div dl dt fieldset figcaption footer
            form head header hgroup html legend li listing main menu nav ol optgroup option search section summary
            tbody tfoot thead title tr ul xmp""",
        SPACE: "audio button canvas iframe img input object select svg td textarea th video",
    }
)
# A browser shows nothing of these. In all but template the tokenizer reads no tag but the end tag.
_HIDDEN = frozenset(("iframe", "noembed", "noframes", "noscript", "script", "style", "template"))

# What Steam's formatting help lists for reviews and guides, and [p] and [dynamiclink] of its newer editor.
_BBCODE_GAPS = _by_name(
    {
        LINE: "code h1 h2 h3 hr list olist p quote table",
        SOFT: "* tr",
        SPACE: "img previewyoutube td th",
        "": "b dynamiclink i noparse spoiler strike u url",
    }
)
# "[url=x]" and "[table noborder=1]" are tags, "[i=0]" and "[b movie]" are text. After [img] comes an address, with or
# without an [/img]. No part reads past the next "[": that keeps a wall of "[url=" or "[img]" linear. ASCII, or a
# dotless i would be an i.
_BBCODE = re.compile(
    rf"""
    \[ (?P<end>/)?
    (?P<name> (?P<address> img | previewyoutube ) | (?P<valued> url | quote )
            | {"|".join(map(re.escape, _BBCODE_GAPS))} )
    (?: (?(address)=|(?(valued)=|(?!))) [^][]*+ | \s++[a-z]++=[^][]*+ )?
    \]
    (?(end)|(?(address) (?: [^[]*+ (?=\[/(?P=address)\]) | \s*+ (?: https?:/ | \{{STEAM_ ) [^][\s]*+ )? ))
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NOPARSE_END = re.compile(r"\[/noparse\]", re.IGNORECASE | re.ASCII)
# A comment without an end hides the rest in a browser too, and is seldom anything but a comment.
_UNFINISHED_TAG = re.compile("<(?!!)")


def steam_html(text: str) -> str:
    """What is left to read of ``text``: "<h2>Fish &amp; chips</h2>[b]Hot[/b]!" gives "Fish & chips", then "Hot!".

    Tags, comments, scripts and the addresses of images and links go; the text of links stays; character references
    are decoded once. Blocks, list items and table cells never run together; white space is one space, one line break
    or one blank line. Every other character stays as it is, lone surrogates included. Whatever the input, nothing is
    raised and the time is linear. Applied again it changes nothing, unless what there is to read looks like markup
    itself, as "&lt;b&gt;" does.
    """
    # HTML first: on a page it is around BBCode that an author left behind, and [noparse] protects BBCode only.
    if "<" in text or "&" in text:
        text = _without_html(text)
    if "[" in text:
        text = _without_bbcode(text)
    return _with_plain_white_space(text)


def _without_html(text: str) -> str:
    """The text between the tags, gaps where blocks and cells meet.

    A tokenizer, not a parser: building the tree takes quadratic time by the standard's own rules (unmatched end tags,
    formatting elements opened again in every paragraph), and which words are shown does not depend on the tree.
    """
    from turbohtml import TokenType, tokenize  # 75 ms to import, and loading definitions must stay instant

    # Of "HP <max, always" a browser shows "HP ": what no ">" ends is no tag, and here it is not thrown away either.
    finished = text.rfind(">") + 1
    text = text[:finished] + _UNFINISHED_TAG.sub("&lt;", text[finished:])

    written = StringIO()
    hiding: list[str] = []
    # No attributes: alt is read only where the image is missing, and none of 312 images in real rows had one.
    for token in tokenize(text, capture_attributes=False):
        if token.type is TokenType.TEXT:
            if not hiding:
                written.write(token.data or "")
        elif tag := token.tag:
            if tag in _HTML_GAPS and not hiding:
                written.write(_HTML_GAPS[tag])
            if tag in _HIDDEN:
                if token.type is TokenType.START_TAG:
                    hiding.append(tag)
                elif hiding and hiding[-1] == tag:
                    hiding.pop()
    return written.getvalue()


def _without_bbcode(text: str) -> str:
    """The text between Steam's tags; inside [noparse] the tags are text. A [noparse] without an end is just a tag."""
    last_noparse_end = max((found.start() for found in _NOPARSE_END.finditer(text)), default=-1)
    literal = False

    def gap(tag: re.Match[str]) -> str:
        nonlocal literal
        name = tag["name"].lower()
        if name == "noparse":
            literal = not tag["end"] and tag.start() < last_noparse_end
            return ""
        return tag[0] if literal else _BBCODE_GAPS[name]

    # Not _BBCODE.sub: it keeps a string for every piece until the end, ten times the memory of a text full of tags.
    written, end = StringIO(), 0
    for tag in _BBCODE.finditer(text):
        written.write(text[end : tag.start()])
        written.write(gap(tag))
        end = tag.end()
    written.write(text[end:])
    return written.getvalue()


def _with_plain_white_space(text: str) -> str:
    """Runs of what HTML and Steam's editor use as white space, made one; U+3000, U+202F and the joiners are text.

    Replacing only: as fast on real descriptions as one regular expression over the runs, which on 50 MB of double
    spaces takes 1 GB and nine times as long.
    """
    for line_break in ("\r\n", "\r"):
        text = text.replace(line_break, LINE)
    for space in ("\t", "\f", "\N{NO-BREAK SPACE}"):
        text = text.replace(space, SPACE)
    text = _squeezed(text, SPACE + SPACE, SPACE)
    for gap in (LINE, SOFT):
        text = text.replace(SPACE + gap, gap).replace(gap + SPACE, gap)
    text = _squeezed(text, SOFT + SOFT, SOFT)
    text = text.replace(LINE + SOFT, LINE).replace(SOFT + LINE, LINE).replace(SOFT, LINE)
    return _squeezed(text, LINE * 3, LINE * 2).strip(SPACE + LINE)


def _squeezed(text: str, run: str, shorter: str) -> str:
    """``text`` without ``run``; each pass shortens every run by a third or more, so that a few dozen always do."""
    while run in text:
        text = text.replace(run, shorter)
    return text
