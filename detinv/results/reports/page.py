"""The frame of every HTML page that detinv writes: self-contained, without script."""

from collections.abc import Iterable

from detinv.results.reports.escape import escaped
from detinv.results.reports.style import STYLE


def page(title: str, sections: Iterable[str]) -> str:
    """A page with the house's style.

    Args:
        title: of the window; escaped.
        sections: HTML, already escaped; empty ones are left out.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main>\n</body>\n</html>\n"
    )
