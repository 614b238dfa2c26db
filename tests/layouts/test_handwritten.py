"""Layouts by hand: every legal form, and the words for every mistake."""

import json

import pytest

from detinv.errors import LayoutError
from detinv.layouts.handwritten import load_handwritten

NAMES = ("circle", "square", "star")


@pytest.fixture
def load(tmp_path):
    def call(text, name="mine.yaml", image_size=(40, 60)):
        (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
        return load_handwritten(tmp_path / name, NAMES, image_size)

    return call


def test_list_of_objects(load):
    (layout,) = load("- {label: star, box: [1, 2, 30.5, 40]}\n- label: circle\n  box: [0, 0, 60, 40]\n")
    assert layout.id == "mine" and layout.image_size == (40, 60) and layout.masks is None
    assert layout.labels.tolist() == [2, 0]
    assert layout.boxes.tolist() == [[1, 2, 30.5, 40], [0, 0, 60, 40]]


def test_json_says_the_same(load):
    (layout,) = load([{"label": "star", "box": [1, 2, 3, 4]}], name="mine.json")
    assert layout.labels.tolist() == [2] and layout.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("text", ["[]", "objects: []", "layouts: [[]]"])
def test_empty_layout_is_legal(load, text):
    assert [len(layout) for layout in load(text)] == [0]


def test_mapping_names_size_and_id(load):
    (layout,) = load("{image_size: [8, 9], id: two, objects: [{label: star, box: [1, 2, 3, 4]}]}")
    assert layout.image_size == (8, 9) and layout.id == "two"


def test_several_layouts_share_a_size(load):
    text = """
    image_size: [8, 9]
    layouts:
      - [{label: star, box: [1, 2, 3, 4]}]
      - {id: 17, image_size: [5, 5], objects: []}
      - {objects: []}
    """
    layouts = load(text)
    assert [layout.id for layout in layouts] == ["mine-1", "17", "mine-3"]
    assert [layout.image_size for layout in layouts] == [(8, 9), (5, 5), (8, 9)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a list of objects"),
        ("star", "expected a list of objects"),
        ("- star", "object 1: expected"),
        ("- {label: star, box: [1, 2, 3, 4]}\n- {label: satr, box: [1, 2, 3, 4]}", "object 2: .*did you mean 'star'"),
        ("- {lable: star, box: [1, 2, 3, 4]}", "object 1: unknown entry 'lable'; did you mean 'label'"),
        ("- {label: star}", "object 1: 'box' is missing"),
        ("- {label: no, box: [1, 2, 3, 4]}", "object 1: its label False must be a class name"),
        ("- {label: star, box: [1, 2, 3]}", "object 1: .*four finite numbers"),
        ("- {label: star, box: [1, 2, .nan, 4]}", "object 1: .*four finite numbers"),
        ("- {label: star, box: [1, 2, .inf, 4]}", "object 1: .*four finite numbers"),
        ("- {label: star, box: [1, 2, true, 4]}", "object 1: .*four finite numbers"),
        ("- {label: star, box: [3, 2, 1, 4]}", "object 1: .*reversed or empty"),
        ("- {label: star, box: [3, 2, 3, 4]}", "object 1: .*reversed or empty"),
        ("- {label: star, box: [3, 2, 61, 4]}", "object 1: .*outside its image of 60 x 40"),
        ("- {label: star, box: [1, 2, 3, 4]", "not valid YAML .line"),
        ("- \x01", "not valid YAML"),
        ("{id: a}", "'objects' is missing"),
        ("{objects: [], size: [3, 4]}", "unknown entry 'size'"),
        ("{objects: 3}", "expected a list of objects"),
        ("{objects: [], image_size: [3, 0]}", r"image_size \[3, 0\] must be"),
        ("{objects: [], image_size: 128}", "image_size 128 must be"),
        ("{objects: [], id: ../up}", "id '../up' must be a name"),
        ("layouts: []", "'layouts' must be a list of layouts, at least one"),
        ("{layouts: [[]], objects: []}", "unknown entry 'objects'"),
        ("layouts: [[], [{label: star}]]", "layout 2: object 1: 'box' is missing"),
        ("layouts: [{id: a, objects: []}, {id: a, objects: []}]", "layout 2: id 'a' occurs twice"),
    ],
)
def test_mistake_is_named(load, text, problem):
    with pytest.raises(LayoutError, match=f"mine.yaml: {problem}") as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_broken_json_is_named(load):
    with pytest.raises(LayoutError, match=r"mine.json: not valid JSON \(line 1, column"):
        load("[{]", name="mine.json")


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(LayoutError, match="none.yaml: no such layout file"):
        load_handwritten(tmp_path / "none.yaml", NAMES, (8, 8))
    with pytest.raises(LayoutError, match="cannot be read"):
        load_handwritten(tmp_path, NAMES, (8, 8))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(LayoutError, match="not a text file"):
        load_handwritten(tmp_path / "binary.yaml", NAMES, (8, 8))


def test_whole_numbers_may_be_written_with_a_point(load):
    (layout,) = load("{image_size: [8.0, 9.0], id: 7.0, objects: []}")
    assert layout.image_size == (8, 9) and layout.id == "7"
