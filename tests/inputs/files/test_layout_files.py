"""Layouts written by hand that cannot be used: each is refused by its file, with the entry and the mend."""

from itertools import pairwise
from pathlib import Path

import pytest

from detinv.errors import LayoutError
from detinv.layouts.handwritten import load_handwritten
from tests.inputs.conftest import QUIET

STAR = "{label: star, box: [10, 10, 50, 50]}"
LAUGHS = "a: &a [lol]\n" + "".join(
    f"{name}: &{name} [{', '.join(f'*{before}' for _ in range(9))}]\n" for before, name in pairwise("abcdefghi")
)


def star(box="[10, 10, 50, 50]", label="star", more=""):
    return f"- {{label: {label}, box: {box}{more}}}\n"


YAML = {
    # name: (what the file holds, what the refusal names)
    "empty": ("", "expected a list of objects"),
    "words": ("a star at the left", "expected a list of objects"),
    "number": ("3", "expected a list of objects"),
    "unclosed": ("- {label: star, box: [10, 10\n", "not valid YAML (line 2"),
    "tab": ("\t- star", "not valid YAML (line 1"),
    "colons": ("a: b: c", "not valid YAML"),
    "escape character": ("- \x1b[31m", "not valid YAML"),
    "nul": ("- \0", "not valid YAML"),
    "unknown directive": ("%YAML 9.9\n---\n[]", "not valid YAML"),
    "unknown tag": ("- !thing {label: star}", "not valid YAML"),
    "python object": ("!!python/object/apply:os.system [id]", "not valid YAML"),
    "python name": ("- !!python/name:os.system", "not valid YAML"),
    "two documents": ("[]\n---\n[]\n", "not valid YAML"),
    "date that does not exist": ("- {label: 2020-13-45, box: [1, 2, 3, 4]}", "not valid YAML"),
    "tag on what is none": ("- !!int star", "not valid YAML"),
    "tag on no date": ("- !!timestamp star", "not valid YAML"),
    "tag on no truth value": ("- !!bool star", "not valid YAML"),
    "list as a key": ("{[1]: 2}", "not valid YAML"),
    "undefined alias": ("- *star", "not valid YAML"),
    "alias": (f"- &it {STAR}\n- *it\n", "aliases are not supported"),
    "alias of itself": ("&a [*a]", "aliases are not supported"),
    "a billion laughs": (LAUGHS, "aliases are not supported"),
    "nested without end": ("[" * 5000, "nested more than"),
    "nested and closed": ("[" * 500 + "]" * 500, "nested more than"),
    "number of too many digits": (star(f"[1, 2, 3, {'9' * 5000}]"), "not valid YAML"),
    "hexadecimal of too many digits": (star(f"[1, 2, 3, 0x{'f' * 5000}]"), "object 1: its box"),
    "list of names": ("- star\n- ring\n", "object 1: expected `{label: star"),
    "list of numbers": ("[1, 2]", "object 1: expected"),
    "list of lists": ("- [star, 1, 2, 3, 4]", "object 1: expected"),
    "unknown entry of a file": ("{layout: []}", "unknown entry 'layout' (expected"),
    "entry that is a number": ("{1: []}", "unknown entry 1"),
    "entry that is null": ("{null: []}", "unknown entry None"),
    "objects missing": ("{id: a}", "'objects' is missing"),
    "objects null": ("{objects: null}", "expected a list of objects"),
    "objects by name": ("{objects: {a: 1}}", "expected a list of objects"),
    "no layouts": ("{layouts: []}", "'layouts' must be a list of layouts"),
    "layouts by name": ("{layouts: {a: []}}", "'layouts' must be a list of layouts"),
    "layout is a text": ("{layouts: [star]}", "layout 1: expected a list"),
    "id twice": ("{layouts: [{id: a, objects: []}, {id: a, objects: []}]}", "layout 2: id 'a' occurs twice"),
    "id a path": ("{id: ../../etc/passwd, objects: []}", "id '../../etc/passwd' must be a name"),
    "id absolute": ("{id: /etc/passwd, objects: []}", "must be a name that a file can have"),
    "id hidden": ("{id: .bashrc, objects: []}", "must be a name that a file can have"),
    "id of a drive": ("{id: 'C:x', objects: []}", "must be a name that a file can have"),
    "id blank": ("{id: ' ', objects: []}", "must be a name that a file can have"),
    "id null": ("{id: null, objects: []}", "id None must be a name"),
    "id a list": ("{id: [a], objects: []}", "must be a name that a file can have"),
    "id true": ("{id: true, objects: []}", "id True must be a name"),
    "id a fraction": ("{id: 1.5, objects: []}", "id 1.5 must be a name"),
    "id of two lines": ('{id: "a\\nb", objects: []}', r"id 'a\nb' must be a name"),
    "id that colours": ('{id: "\\e[31mred", objects: []}', "must be a name that a file can have"),
    "id that turns text round": ('{id: "\\u202egnp.exe", objects: []}', "must be a name that a file can have"),
    "id with a nul": ('{id: "a\\0", objects: []}', "must be a name that a file can have"),
    "id half a character": ('{id: "\\ud800", objects: []}', "must be a name that a file can have"),
    "id of too many digits": (f"{{id: 0x{'f' * 5000}, objects: []}}", "must be a name that a file can have"),
    "size of one": ("{image_size: [64], objects: []}", "image_size [64] must be [height, width]"),
    "size of three": ("{image_size: [64, 64, 3], objects: []}", "image_size [64, 64, 3]"),
    "size a number": ("{image_size: 64, objects: []}", "image_size 64 must be"),
    "size zero": ("{image_size: [0, 64], objects: []}", "image_size [0, 64]"),
    "size negative": ("{image_size: [-64, 64], objects: []}", "image_size [-64, 64]"),
    "size a fraction": ("{image_size: [64.5, 64], objects: []}", "image_size [64.5, 64]"),
    "size not a number": ("{image_size: [.nan, 64], objects: []}", "image_size [nan, 64]"),
    "size infinite": ("{image_size: [64, .inf], objects: []}", "image_size [64, inf]"),
    "size text": ("{image_size: ['64', 64], objects: []}", "image_size ['64', 64]"),
    "more pixels than memory": ("{image_size: [100000, 100000], objects: []}", "image_size [100000, 100000]"),
    "size of too many digits": (f"{{image_size: [0x{'f' * 5000}, 64], objects: []}}", "image_size"),
    "narrow as a line": ("{image_size: [1, 100000], objects: []}", "too narrow for this detector"),
    "label missing": ("- {box: [1, 2, 3, 4]}", "object 1: 'label' is missing"),
    "box missing": ("- {label: star}", "object 1: 'box' is missing"),
    "unknown entry of an object": (star(more=", score: 1"), "unknown entry 'score'"),
    "label unknown": (star(label="stra"), "did you mean 'star'?"),
    "label a number": (star(label="7"), "its label 7 must be a class name"),
    "label null": (star(label="null"), "its label None"),
    "label true": (star(label="yes"), "its label True"),
    "label a list": (star(label="[star]"), "its label ['star']"),
    "label of another case": (star(label="Star"), "did you mean 'star'?"),
    "label with a space": (star(label="'star '"), "unknown class 'star '"),
    "label that looks like it": (star(label="st\u0430r"), "unknown class 'st\u0430r'"),
    "label of a thousand letters": (star(label="s" * 1000), "unknown class 'sss"),
    "box of three": (star("[1, 2, 3]"), "must be four finite numbers"),
    "box a text": (star("1 2 3 4"), "must be four finite numbers"),
    "box null": (star("null"), "its box None"),
    "box by name": (star("{x: 1}"), "must be four finite numbers"),
    "box of text": (star("[a, 2, 3, 4]"), "must be four finite numbers"),
    "box of truth values": (star("[no, no, yes, yes]"), "must be four finite numbers"),
    "box not a number": (star("[1, .nan, 3, 4]"), "must be four finite numbers"),
    "box infinite": (star("[1, 2, .inf, 4]"), "must be four finite numbers"),
    "box huge": (star("[1, 2, 1.0e+300, 4]"), "must be four finite numbers"),
    "box reversed": (star("[50, 10, 10, 50]"), "reversed or empty"),
    "box empty": (star("[10, 10, 10, 50]"), "reversed or empty"),
    "box a hair's breadth": (star("[10, 10, 10.00000001, 50]"), "reversed or empty"),
    "box outside": (star("[10, 10, 500, 50]"), "outside its image of 128 x 128"),
    "box negative": (star("[-10, 10, 50, 50]"), "outside its image"),
    "second object": (star() + star("[1, 2, 3]"), "object 2"),
    "second layout": (f"{{layouts: [[{STAR}], [{STAR}, 7]]}}", "layout 2: object 2"),
    "too many objects": (star() * 301, "301 objects"),
}

JSON = {
    "empty": ("", "not valid JSON"),
    "yaml": ("- {label: star}", "not valid JSON"),
    "truncated": ('[{"label": "star", "box": [1, 2', "not valid JSON (line 1"),
    "nested without end": ("[" * 100_000, "not valid JSON"),
    "number of too many digits": ("[" + "9" * 5000 + "]", "not valid JSON"),
    "not a number": ('[{"label": "star", "box": [NaN, 1, 2, 3]}]', "must be four finite numbers"),
    "infinite": ('[{"label": "star", "box": [1, 1, 1e999, 3]}]', "must be four finite numbers"),
    "half a character": ('{"id": "\\ud800", "objects": []}', "must be a name that a file can have"),
}

BYTES = {
    "binary": (bytes(range(256)), "not a text file"),
    "utf-16": ("[]".encode("utf-16"), "not a text file"),
    "latin-1": (b"- {label: \xe9toile}", "not a text file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a text file"),
}


def invert(refused, path, naming):
    return refused("invert", "layout=file", f"layout.path={path}", *QUIET, naming=(path, naming))


@pytest.mark.parametrize(("text", "naming"), YAML.values(), ids=YAML)
def test_what_is_no_layout_in_yaml_is_refused(text, naming, refused, tmp_path: Path):
    (tmp_path / "mine.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    invert(refused, "mine.yaml", naming)


@pytest.mark.parametrize(("text", "naming"), JSON.values(), ids=JSON)
def test_what_is_no_layout_in_json_is_refused(text, naming, refused, tmp_path: Path):
    (tmp_path / "mine.json").write_text(text)
    invert(refused, "mine.json", naming)


@pytest.mark.parametrize(("data", "naming"), BYTES.values(), ids=BYTES)
def test_what_is_no_text_is_refused(data, naming, refused, tmp_path: Path):
    (tmp_path / "mine.yaml").write_bytes(data)
    invert(refused, "mine.yaml", naming)


def test_a_folder_is_refused(refused, tmp_path: Path):
    (tmp_path / "mine.yaml").mkdir()
    invert(refused, "mine.yaml", "cannot be read (Is a directory)")


@pytest.mark.parametrize(
    ("words", "naming"),
    [
        (["layout.path=nowhere.yaml"], "no such layout file"),
        (["layout.path=null"], "layout.path"),
        # Whether the class says it or, in this suite, the check of its types before it.
        (["layout.path=[a]"], "ayout"),
        (["layout.path=sample:nothing"], "sample:nothing: no such sample"),
        (["layout.path=mine.yaml", "layout.image_size=[64]"], "layout.image_size=[64]"),
        (["layout.path=mine.yaml", "layout.image_size=[0,64]"], "layout.image_size=[0, 64]"),
        (["layout.path=mine.yaml", "layout.image_size=[a,64]"], "ayout"),
        (["layout.path=mine.yaml", "layout.image_size=[99999,99999]"], "layout.image_size=[99999, 99999]"),
    ],
)
def test_what_cannot_be_said_of_a_file_is_refused(words, naming, refused, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("[]")
    refused("invert", "layout=file", *words, *QUIET, naming=naming)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch):
    def read_text(self: Path, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("detinv.layouts.handwritten.Path.read_text", read_text)
    with pytest.raises(LayoutError, match=r"mine.yaml: .* cannot be read \(Permission denied\)"):
        load_handwritten(tmp_path / "mine.yaml", ("star",), (128, 128))


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(LayoutError, match="no such layout file"):
        load_handwritten("mine\0.yaml", ("star",), (128, 128))


def test_a_byte_order_mark_does_no_harm(tmp_path: Path):
    for name, text in (("a.yaml", f"- {STAR}"), ("b.json", '[{"label": "star", "box": [1, 2, 3, 4]}]')):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert len(load_handwritten(tmp_path / name, ("star",), (128, 128))[0]) == 1
