"""Rendering of templates: every text is escaped, and a missing value is an error."""

import pytest
from jinja2 import UndefinedError

from detinv.results.reports.findings import Findings
from detinv.results.reports.html import render, render_macro, render_markup
from detinv.results.reports.page_table import PageCell, PageTable
from detinv.results.reports.write_findings import render_findings

HOSTILE = "<script>'\"&\x1b[31m\u202e"
ESCAPED = "&lt;script&gt;&#39;&#34;&amp;\\x1b[31m\\u202e"


def test_page_is_a_whole_document_that_fetches_nothing() -> None:
    html = render_findings(Findings({}), "", "t", {})
    assert html.lstrip().startswith("<!DOCTYPE html>\n<html") and html.endswith("</html>\n")
    assert '<meta charset="utf-8">' in html and "<style>" in html
    assert "<script" not in html and "http" not in html and "url(" not in html


def test_text_in_elements_attributes_and_macros_is_escaped_once() -> None:
    html = render("findings.html", title=HOSTILE, tables=[], figures=[], decided={}, config_lines=[], versions={})
    assert f"<title>{ESCAPED}</title>" in html and f"<h1>{ESCAPED}</h1>" in html
    table = PageTable([PageCell(HOSTILE)], [[PageCell(HOSTILE, swatch='"><b>')]])
    fragment = render_macro("tables.html", "table", content=table)
    assert fragment.count(ESCAPED) == 2 and 'style="background:&#34;&gt;&lt;b&gt;"' in fragment
    # A fragment inserted into another template is not escaped again.
    layout = render_markup(
        "layout.html", id=HOSTILE, verdicts=[], stopped=False, figures=[], columns=4, width=1, height=1
    )
    assert f"<h3>{ESCAPED}</h3>" in layout and "<section" in layout


def test_a_value_that_the_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("findings.html")
