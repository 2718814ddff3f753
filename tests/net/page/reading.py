"""Reading the page as a browser would, and finding what is wrong with it."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr"}
_TAGS = (
    "html head title script noscript body a header main section article footer p span strong em small b time button "
    "h1 h2 h3 h4 ul li dl div dt dd figure figcaption table caption thead tbody tr th td pre code "
    "style svg symbol path defs pattern use rect line circle text"
)
TAGS = VOID | set(_TAGS.split())
_ATTRIBUTES = (
    "lang charset name content rel type href src defer http-equiv class id role hidden tabindex scope title datetime "
    "aria-label aria-labelledby aria-live aria-hidden aria-pressed data-name data-told data-title data-version "
    "viewbox preserveaspectratio d fill-rule x y x1 x2 y1 y2 cx cy r rx width height text-anchor patternunits"
)
ATTRIBUTES = set(_ATTRIBUTES.split())


class Reader(HTMLParser):
    """Collects the mistakes of a document in `mistakes`, its text in `text`, and its elements in `elements`."""

    def __init__(self):
        super().__init__()
        self.open, self.mistakes, self.elements, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in TAGS:
            self.mistakes.append(f"<{tag}>")
        self.mistakes.extend(f"{name} of <{tag}>" for name, _ in attrs if name not in ATTRIBUTES)
        if len(dict(attrs)) != len(attrs):
            self.mistakes.append(f"an attribute twice: {attrs}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(f"</{tag}> in {self.open}")

    def handle_comment(self, data):
        self.mistakes.append(f"comment {data}")

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    """Return a document as it was read; all of its elements must be closed in the end."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    reader.mistakes.extend(f"<{tag}> is never closed" for tag in reader.open)
    return reader
