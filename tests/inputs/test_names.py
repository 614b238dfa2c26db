"""Names from data sets are nothing but names: in pages, in the terminal, in pictures, and as names of files."""

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from detinv.cli import main
from detinv.commands.terminal import console, literal, terminal_table
from detinv.detectors.class_names import read_class_names
from detinv.errors import DetectorError
from detinv.inputs.printable import is_text, one_line, printable, quoted
from detinv.layouts.layout import Detections, Layout
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Figure, Findings, Table
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.report import render_report
from detinv.results.reports.write_findings import render_findings

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "&lt;b&gt;&#60;i&#62;",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "[red]markup[/red] [link=http://x]here[/link] [bold",
    ":star: :skull:",
    "\u202egnp.exe\u2066\u200f",
    "two\nlines\r\nand\ttabs",
    "nul\0 bell\x07 back\x08 delete\x7f csi\x9b31m",
    "../../up",
    "/etc/passwd",
    "C:\\x",
    "CON",
    "nul.txt",
    ".hidden",
    "x" * 300,
    "st\u0430r \uff0e\uff0e\uff0f \U0001f600",
)
UNSEEN = {chr(code) for code in (*range(32), *range(127, 160), 0x200E, 0x200F, *range(0x202A, 0x202F))}
UNSEEN |= {chr(code) for code in range(0x2066, 0x206A)}
UNSEEN -= {"\n"}


class Page(HTMLParser):
    """Tags and attributes of a page, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def check_page(html: str, names=HOSTILE) -> None:
    """No markup of a name's own, nothing that one cannot see, and every name there."""
    page = Page(html)
    assert not {"script", "i", "b", "a", "iframe", "link"} & page.tags
    assert not [name for name, value in page.attributes if name.startswith("on") or value == "x"]
    assert not UNSEEN & set(html)
    for name in names:
        # A figure shortens long captions; the tables do not.
        assert printable(name) in page.text


def result() -> InversionResult:
    size = (40, 50)
    layouts, found = [], []
    for label, name in enumerate(HOSTILE):
        boxes, labels = torch.tensor([[5.0, 5.0, 30.0, 30.0]]), torch.tensor([label])
        layouts.append(Layout(boxes, labels, size, name))
        found.append(Detections(boxes, torch.tensor([0.9]), labels, size))
    images = [torch.full((3, *size), 128, dtype=torch.uint8)] * len(layouts)
    metrics = {f"AP/{name}": 1.0 for name in HOSTILE} | {name: name for name in HOSTILE if "/" not in name}
    metrics["versions"] = dict(zip(HOSTILE, HOSTILE, strict=True))
    losses = [{"step": 0, "batch": 0, **dict.fromkeys(HOSTILE, 1.0)}]
    return InversionResult(layouts, images, {name: found for name in HOSTILE[:3]}, HOSTILE, metrics, losses)


def test_the_report_of_an_inversion_shows_names_as_they_are():
    check_page(render_report(result(), "\n".join(HOSTILE), HOSTILE[0]))


def test_the_report_of_an_experiment_shows_names_as_they_are():
    picture = torch.full((4, 5, 3), 128, dtype=torch.uint8).numpy()
    for name in HOSTILE:
        findings = Findings(
            {}, [Table("t", name, (name,), [(name,)], name)], [Figure("f", name, picture, name)], {name: name}
        )
        check_page(render_findings(findings, f"a: {name}\nb: 2", name, {name: {"x": name}}), (name,))


def test_printable_text_hides_nothing():
    assert printable("star 7, ünïcode 星") == "star 7, ünïcode 星"
    assert printable("a\x1b[31m\u202eb\0\n\ud800") == "a\\x1b[31m\\u202eb\\x00\\n\\ud800"
    assert all(printable(name).isprintable() for name in HOSTILE)


def test_lines_are_short_and_keep_their_end():
    assert one_line("a\n  b\tc") == "a b c"
    line = one_line("begin " + "x" * 5000 + " end", 100)
    assert len(line) == 100 and line.startswith("begin ") and line.endswith(" end") and " ... " in line
    assert len(one_line("x" * 100, 100)) == 100
    assert quoted([1, "a"]) == "[1, 'a']"
    assert len(quoted("x" * 5000)) == 80
    assert quoted(10**5000) == "a int"


def test_half_a_character_is_no_text():
    assert is_text("ünïcode 星 \x00") and not is_text("a\ud800")


@pytest.mark.parametrize("name", HOSTILE)
def test_the_terminal_shows_names_as_they_are(name, capsys):
    terminal = Console(emoji=False, force_terminal=True, width=400)
    with terminal.capture() as captured:
        terminal.print(literal(name), highlight=False, soft_wrap=True)
    assert captured.get() == printable(name) + "\n"
    table = terminal_table(Table("t", name, (name, "n"), [(name, 1)]), 2000)
    assert table is not None
    with terminal.capture() as captured:
        Console.print(terminal, table, width=1500, soft_wrap=True)
    assert captured.get().count(printable(name)) >= (1 if len(name) > 200 else 2)
    assert not (UNSEEN - {"\x1b"}) & set(captured.get())
    assert "\x1b[31m" not in captured.get() and "\x1b]" not in captured.get()


def test_the_terminal_knows_no_pictures_by_name(capsys):
    console().print(literal(":star:"))
    assert capsys.readouterr().out == ":star:\n"


def test_files_named_after_anything_stay_where_they_belong(tmp_path: Path):
    names = [*HOSTILE, "", ".", "..", "...", "~", "a/b", "a\\b", "LPT1.png", "aux", "con ", "CON", "-rf", "x" * 301]
    stems = file_stems(names)
    assert len({stem.lower() for stem in stems}) == len(names)
    for stem in stems:
        path = tmp_path / f"{stem}.png"
        path.write_text("")
        assert path.resolve().parent == tmp_path.resolve()
        assert len(stem) < 120 and stem.isascii() and stem[0] not in ".-" and stem[-1] not in ". "
        assert stem.lower().split(".")[0] not in {"con", "prn", "aux", "nul", "com1", "lpt1"}
    assert len(os.listdir(tmp_path)) == len(names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set and a detector, of which every name is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    detector = {
        "_target_": "detinv.detectors.load.assemble_detector",
        "_recursive_": False,
        "name": HOSTILE[0] + HOSTILE[3] + HOSTILE[4],
        "adapter": "detinv.detectors.torchvision.fcos.TorchvisionFCOS",
        "model": {
            "_target_": "detinv.zoo.models.build_fcos",
            "num_classes": len(HOSTILE),
            "image_size": [64, 64],
        },
        "class_names": list(HOSTILE),
        "weights": "random",
    }
    (folder / "hostile.yaml").write_text(yaml.safe_dump(detector))
    photos = folder / "photos"
    photos.mkdir()
    names = [name.replace("/", "-").replace("\\", "-").replace("\0", "-")[:200] + ".png" for name in HOSTILE[:9]]
    for name in names:
        Image.new("RGB", (64, 64), (90, 90, 90)).save(photos / name)
    content = {
        "images": [{"id": number, "file_name": name, "width": 64, "height": 64} for number, name in enumerate(names)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(HOSTILE)],
        "annotations": [
            {"id": number, "image_id": number % len(names), "category_id": number, "bbox": [5, 5, 20, 20]}
            for number in range(len(HOSTILE))
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def test_a_hostile_data_set_is_inverted_like_any_other(folder: Path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = set(os.listdir(folder.parent))
    words = ["detector=hostile.yaml", "layout=coco", "layout.annotations=instances.json", "steps=0", "logger=none"]
    assert main(["invert", *words, "trainer.accelerator=cpu", "out_dir=out"]) == 0
    assert not UNSEEN & set(capsys.readouterr().out)
    out = folder / "out"
    assert all(path.resolve().is_relative_to(out.resolve()) for path in out.rglob("*"))
    assert set(os.listdir(folder.parent)) == before
    truth = json.loads((out / "layouts.json").read_text())
    assert [category["name"] for category in truth["categories"]] == list(HOSTILE)
    assert {image["file_name"] for image in truth["images"]} == set(os.listdir(out / "images"))
    assert all(name.isascii() and name.isprintable() for name in os.listdir(out / "images"))
    check_page((out / "report.html").read_text(), HOSTILE[:1])
    assert (out / "overview.png").stat().st_size > 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["detector"]["class_names"] == list(HOSTILE)


def test_hostile_photographs_are_looked_at_like_any_other(folder: Path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["detector=hostile.yaml", "images=photos", "annotations=instances.json", "out_dir='[red]seen[/red]'"]
    assert main(["detect", *words]) == 0
    told = capsys.readouterr().out
    assert not UNSEEN & set(told) and "picture: [red]seen[/red]/overview.png" in told
    assert (folder / "[red]seen[/red]" / "detections.json").is_file()


@pytest.mark.parametrize("name", [name for name in HOSTILE if printable(name) != name])
def test_mistakes_about_a_name_are_one_plain_line(name, folder: Path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    content = {"images": [], "annotations": [], "categories": []}
    content["images"] = [{"id": 1, "file_name": name, "width": 64, "height": 64}]
    (folder / "other.json").write_text(json.dumps(content))
    assert main(["detect", "images=photos", "annotations=other.json", "out_dir=nothing"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.removesuffix("\n").isprintable()


def test_class_names_that_cannot_be_written_are_refused(tmp_path: Path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfstar\nring\n")
    assert read_class_names(str(tmp_path / "names.txt")) == ("star", "ring")
    for names in (["a\ud800"], [" "], "nowhere\0.txt"):
        with pytest.raises(DetectorError, match="class_names="):
            read_class_names(names)
