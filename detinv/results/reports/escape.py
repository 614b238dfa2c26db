"""Words from anywhere as text in HTML: no markup, and nothing that one cannot see."""

from html import escape

from detinv.config.printable import printable


def escaped(text: str) -> str:
    """`text` in one line, for elements and for attributes in quotes."""
    return escape(printable(text))


def escaped_lines(text: str) -> str:
    """The same, with the text's own line breaks."""
    return "\n".join(map(escaped, text.split("\n")))
