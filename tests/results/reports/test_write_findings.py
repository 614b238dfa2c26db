"""The folder of an experiment: every file, exact numbers, and a page that stands alone."""

import csv
import json
import math
import os
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detinv.errors import OutputError
from detinv.results.reports.findings import Figure, Findings, Table
from detinv.results.reports.write_findings import render_findings, write_findings

HOSTILE = "<script>alert('x')</script>&\""
PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
ABOUT = {"seed": 3, "versions": {"torch": "9.9.9"}, "weight_hashes": {"tiny": "0123abcd"}}


def findings(text: str = "plain words") -> Findings:
    return Findings(
        numbers={"AP": {"tiny": 91.23456}, "missing": math.nan, "endless": math.inf, "list": [1, math.nan]},
        tables=[
            Table(
                "matrix", text, (text, "AP", "n", "gone"), [(text, 91.23456, 7, None), ("b", math.nan, 8, None)], text
            ),
            Table("empty", "no row", ("one", "two"), []),
        ],
        figures=[Figure("first", text, PICTURE, text), Figure("second", "other", 255 - PICTURE)],
        decided={text: text},
    )


class Page(HTMLParser):
    """Tags with their attributes, and the texts between them; every tag must be closed."""

    VOID = {"meta", "img"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_file_is_written(tmp_path: Path) -> None:
    report = write_findings(findings(), tmp_path / "deep" / "run", "steps: 2\n", "a title", ABOUT)
    folder = report.parent
    assert report == tmp_path / "deep" / "run" / "report.html"
    assert {path.name for path in folder.iterdir()} == {
        "matrix.csv", "empty.csv", "first.png", "second.png", "report.html", "numbers.json"
    }  # fmt: skip
    with Image.open(folder / "second.png") as picture:
        assert np.array_equal(np.asarray(picture), 255 - PICTURE)


def test_tables_have_all_digits_and_always_a_header(tmp_path: Path) -> None:
    write_findings(findings(), tmp_path, "", "t", ABOUT)
    with (tmp_path / "matrix.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["plain words", "AP", "n", "gone"],
            ["plain words", "91.23456", "7", ""],
            ["b", "", "8", ""],
        ]
    assert (tmp_path / "empty.csv").read_text() == "one,two\n"


def test_numbers_are_plain_and_what_is_not_a_number_is_null(tmp_path: Path) -> None:
    write_findings(findings(), tmp_path, "", "t", ABOUT)
    assert json.loads((tmp_path / "numbers.json").read_text()) == {
        "numbers": {"AP": {"tiny": 91.23456}, "missing": None, "endless": None, "list": [1, None]},
        "decided": {"plain words": "plain words"},
        "about": ABOUT,
    }


@pytest.mark.parametrize("name", ["matrix.csv", "second.png", "report.html"])
def test_numbers_come_last(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds numbers.json finds everything."""
    real = os.replace

    def until(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(28, os.strerror(28))
        real(source, target)

    monkeypatch.setattr(os, "replace", until)
    with pytest.raises(OutputError, match=f"{name} cannot be written"):
        write_findings(findings(), tmp_path, "", "t", ABOUT)
    assert not (tmp_path / "numbers.json").exists()


def test_page_escapes_every_name() -> None:
    html = render_findings(findings(HOSTILE), f"key: {HOSTILE}\n", HOSTILE, ABOUT | {HOSTILE: {HOSTILE: HOSTILE}})
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    shown = " ".join(page.texts)
    # Window and heading; table: title, heading, cell, note; figure: title, note; decided; configuration; about.
    assert shown.count(HOSTILE) == 2 + 4 + 2 + 2 + 1 + 3
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == [HOSTILE, "other"]


def test_page_asks_for_nothing_from_elsewhere() -> None:
    html = render_findings(findings(), "steps: 2\n", "t", ABOUT)
    page = Page(html)
    assert not {"link", "script", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    sources = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert len(sources) == 2 and all((source or "").startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in html and "@import" not in html and "http" not in html


def test_page_shows_tables_as_people_read_them() -> None:
    html = render_findings(findings(), "steps: 2\n", "t", ABOUT)
    assert '<td class="number">91.2</td><td class="number">7</td><td class="number">\N{EN DASH}</td>' in html
    assert '<td class="">b</td><td class="number">\N{EN DASH}</td>' in html
    page = Page(html)
    for part in ("steps: 2\n\n", "versions torch", "9.9.9", "weight_hashes tiny", "0123abcd"):
        assert part in page.texts


def test_page_leaves_out_what_there_is_nothing_of() -> None:
    page = Page(render_findings(Findings({"n": 1}), "", "t", {}))
    assert "img" not in {tag for tag, _ in page.tags}
    assert [text for text in page.texts if text.strip()][-1:] == ["How it was made"]
