"""`detinv attribute`: what it writes, how it resumes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from detinv.attribution import archive, pictures
from detinv.cli import main
from detinv.commands import attribute
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError, DetinvError
from detinv.results.io.files import write_json, write_png
from detinv.runtime.processes import Processes
from detinv.worlds.part import PartWorld
from detinv.zoo.weights import bundled_weights

WORDS = ("scenes=2", "questions=[class,left]", "max_detections=2")


def run(out_dir: Path, *words: str) -> int:
    return main(["attribute", *WORDS, f"out_dir={out_dir}", *words])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp("attribute") / "out"
    assert run(out_dir) == 0
    return out_dir


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 0)])
def test_one_process_explains_on_the_gpu_it_was_told_and_several_have_one_each(count, expected, tmp_path, monkeypatch):
    seen = []

    class Moved:
        def to(self, device):
            seen.append(device)
            raise ConfigError("all is known")

    monkeypatch.setattr(attribute, "usable_device", torch.device)
    monkeypatch.setattr(attribute, "start_processes", lambda _: Processes(count=count, device=0))
    monkeypatch.setattr(attribute, "build_detector", lambda node: Moved())
    assert run(tmp_path / "out", "device=cuda:1", f"processes={count}") == 2
    assert seen == [torch.device("cuda", expected)]


def test_everything_is_written(written: Path):
    found = json.loads((written / "attributions.json").read_text())
    assert len(found["images"]) == 2
    assert found["unmatched"] == {}
    for image in found["images"]:
        with np.load(written / "maps" / f"{image['file']}.npz") as maps:
            for entry in image["attributions"]:
                assert list(maps[entry["map"]].shape) == entry["map_size"]
                assert entry["method"] == "default"
                assert 0 <= entry["placement"]["energy_in_box"] <= 1
        with Image.open(written / "pictures" / f"{image['file']}.png") as picture:
            assert picture.width > 500
    assert {row["question"] for row in json.loads((written / "metrics.json").read_text())["maps"]} == {"class", "left"}
    page = (written / "report.html").read_text()
    assert "Why the detector decided so" in page and "brightest where" in page


def test_what_is_finished_is_not_made_again(written: Path, monkeypatch):
    before = {path.name: path.read_bytes() for path in (written / "maps").iterdir()}
    entries = (written / "attributions.json").read_text()
    monkeypatch.setattr(attribute, "explain_image", lambda *args, **options: pytest.fail("it is finished"))
    assert run(written) == 0
    assert {path.name: path.read_bytes() for path in (written / "maps").iterdir()} == before
    assert (written / "attributions.json").read_text() == entries


def test_an_interrupted_run_goes_on_to_the_same_maps(written: Path, tmp_path: Path, monkeypatch):
    explain, made = attribute.explain_image, []

    def interrupted(*args, **options):
        if made:
            raise KeyboardInterrupt
        made.append(explain(*args, **options))
        return made[-1]

    monkeypatch.setattr(attribute, "explain_image", interrupted)
    assert run(tmp_path / "out") == 130
    assert len(list((tmp_path / "out" / "progress").iterdir())) == 1
    monkeypatch.setattr(attribute, "explain_image", explain)
    assert run(tmp_path / "out") == 0
    for path in (written / "maps").iterdir():
        with np.load(path) as one, np.load(tmp_path / "out" / "maps" / path.name) as other:
            assert all(np.array_equal(one[name], other[name]) for name in one.files)


def test_another_photograph_of_the_same_name_is_explained_anew(tmp_path: Path):
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "a.png"
    maps = []
    for number in range(2):
        scene = PartWorld(seed=9).scene(number)
        Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(path)
        words = (f"images={tmp_path / 'images'}", "questions=[class]", "max_detections=1")
        assert run(tmp_path / "out", *words) == 0
        maps.append((tmp_path / "out" / "maps" / "a.npz").read_bytes())
    assert maps[0] != maps[1]


@pytest.mark.slow
def test_other_names_in_the_file_of_classes_are_those_of_the_maps(tmp_path: Path):
    """The option names the same file as before, so the folder belongs to the same run."""
    weights, names = tmp_path / "weights.pt", tmp_path / "names.txt"
    torch.save(load_file(bundled_weights("part_retinanet")), weights)
    words = ("scenes=1", "questions=[class]", "max_detections=1", f"detector.weights={weights}")
    words = (*words, f"detector.class_names={names}", f"images={tmp_path / 'images'}")
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / "a.png", PartWorld().scene(0).image)
    for name in ("old", "new"):
        names.write_text("".join(f"{name}{number}\n" for number in range(4)))
        assert run(tmp_path / "out", *words) == 0
        found = json.loads((tmp_path / "out" / "attributions.json").read_text())["images"][0]["attributions"]
        assert [entry["class"][:3] for entry in found] == [name]


def test_annotated_objects_are_explained(tmp_path: Path):
    scene = PartWorld(seed=9).scene(0)
    (tmp_path / "images").mkdir()
    Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(tmp_path / "images" / "a.png")
    names = PartWorld.class_names
    boxes = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in scene.layout.boxes.tolist()]
    file = {
        "images": [{"id": 1, "file_name": "a.png", "height": 128, "width": 128}],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": number + 1, "image_id": 1, "category_id": int(label) + 1, "bbox": box, "area": 1.0, "iscrowd": 0}
            for number, (box, label) in enumerate(zip(boxes, scene.layout.labels, strict=True))
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(file))
    words = (f"images={tmp_path / 'images'}", f"annotations={tmp_path / 'a.json'}", "questions=[class]")
    measures = ("methods=[default,control_uniform]", "metrics=[energy,insertion]", "metric_preset=odam2023")
    assert run(tmp_path / "measured", *words, *measures) == 0
    metrics = json.loads((tmp_path / "measured" / "metrics.json").read_text())
    default, uniform = (row["measures"] for row in metrics["maps"])
    assert metrics["preset"] == "odam2023"
    assert set(default) == {"energy_box", "energy_mask", "insertion", "insertion_normalised"}
    assert (default["energy_box"]["maps"], default["energy_mask"]["maps"]) == (len(scene.layout), 0)
    for name in ("energy_box", "insertion"):
        assert default[name]["mean"] > uniform[name]["mean"]
        assert default[name]["low"] <= default[name]["mean"] <= default[name]["high"]
    assert "odam2023" in (tmp_path / "measured" / "report.html").read_text()
    assert run(tmp_path / "out", *words) == 0
    (image,) = json.loads((tmp_path / "out" / "attributions.json").read_text())["images"]
    assert [entry["class"] for entry in image["attributions"]] == [names[int(label)] for label in scene.layout.labels]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("methods=[odem]",), "did you mean 'odam'"),
        (("methods=[]",), "name at least one"),
        (("questions=[colour]",), "cannot be asked that"),
        (("layers=[p9]", "methods=[odam]"), "this detector has"),
        (("world=plain",), "choose the world it was trained on"),
        (("annotations=a.json",), "give the folder of its images"),
        (("images=nowhere",), "does not exist"),
        (("scenes=0",), "at least 1"),
        (("images=nowhere", "max_images=0"), "at least 1"),
        (("max_images=2",), "scenes=N"),
        (("metrics=[insertoin]",), "did you mean 'insertion'"),
        (("metric_preset=odam",), "did you mean 'odam2023'"),
    ],
)
def test_mistakes_get_one_line(words, said: str, tmp_path: Path, capsys):
    assert run(tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_object_that_is_annotated_twice_has_a_row_for_each(tmp_path: Path, monkeypatch):
    scene = PartWorld(seed=9).scene(0)
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / "a.png", scene.image)
    x0, y0, x1, y1 = scene.layout.boxes[0].tolist()
    one = {"image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": 1.0, "iscrowd": 0}
    file = {
        "images": [{"id": 1, "file_name": "a.png", "height": 128, "width": 128}],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(PartWorld.class_names)],
        "annotations": [{"id": number + 1, **one} for number in range(2)],
    }
    write_json(tmp_path / "a.json", file)
    drawn = []
    arrange = pictures.sheet
    monkeypatch.setattr(pictures, "sheet", lambda *parts: (drawn.append(parts[:2]), arrange(*parts))[1])
    assert run(tmp_path / "out", f"images={tmp_path / 'images'}", f"annotations={tmp_path / 'a.json'}") == 0
    (image,) = json.loads((tmp_path / "out" / "attributions.json").read_text())["images"]
    assert [entry["object"] for entry in image["attributions"]] == [0, 0, 1, 1]
    # The picture of the image with two rows, then the overview with one; the first column shows the object.
    assert [(len(headings), [len(row.cells) for row in rows]) for headings, rows in drawn] == [(3, [3, 3]), (3, [3])]


@pytest.mark.slow
def test_a_map_without_energy_counts_in_no_mean_also_when_it_is_read_back(tmp_path: Path, monkeypatch, capsys):
    explain = attribute.explain_image

    def without_first(*args, **options):
        found = explain(*args, **options)
        found.attributions[0].map.zero_()
        return found

    monkeypatch.setattr(attribute, "explain_image", without_first)
    assert run(tmp_path / "out", "scenes=1", "questions=[class]") == 0
    metrics = (tmp_path / "out" / "metrics.json").read_text()
    assert run(tmp_path / "out", "scenes=1", "questions=[class]") == 0
    assert (tmp_path / "out" / "metrics.json").read_text() == metrics
    (image,) = json.loads((tmp_path / "out" / "attributions.json").read_text())["images"]
    first, second = (entry["placement"]["energy_in_box"] for entry in image["attributions"])
    (row,) = json.loads(metrics)["maps"]
    assert first is None
    assert (row["maps"], row["energy_in_box"]) == (2, second)
    assert "nan" not in capsys.readouterr().out


def test_a_summary_of_nothing_is_empty():
    assert archive.summary([]) == []
    assert issubclass(DetinvError, Exception)


@pytest.mark.slow
def test_two_processes_make_the_same_files(written: Path, tmp_path: Path):
    # Lightning starts the program's command line again, so the program itself is run.
    words = [sys.executable, "-m", "detinv", "attribute", *WORDS, "processes=2", f"out_dir={tmp_path / 'two'}"]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    names = sorted(path.relative_to(written) for path in (written / "maps").iterdir())
    assert names == sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two" / "maps").iterdir())
    for name in (*names, Path("overview.png")):
        assert (written / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[str, str, str]:
    """Words for a folder of two scenes, an annotation file that lists them, and rounded detections in them."""
    world, detector = PartWorld(seed=1000), load_detector("part_retinanet")
    images, results = [], []
    (tmp_path / "photographs").mkdir()
    for number in range(2):
        scene = world.scene(number)
        write_png(tmp_path / "photographs" / f"{number}.png", scene.image.permute(1, 2, 0).numpy())
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 128})
        (found,) = detector.detect([scene.image])
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
            x0, y0, x1, y1 = box
            sides = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
            results.append({"image_id": number, "category_id": label, "bbox": sides, "score": round(score, 3)})
    # One that the detector never reported.
    results.append({"image_id": 0, "category_id": 0, "bbox": [3.0, 3.0, 40.0, 50.0], "score": 1.0})
    categories = [{"id": number, "name": name} for number, name in enumerate(detector.class_names)]
    write_json(tmp_path / "a.json", {"images": images, "annotations": [], "categories": categories})
    write_json(tmp_path / "d.json", results)
    return tuple(f"{name}={tmp_path / file}" for name, file in _FILES.items())


_FILES = {"images": "photographs", "annotations": "a.json", "detections": "d.json"}


def test_detections_of_a_file_are_explained_and_those_of_no_raw_prediction_named(photographs, tmp_path, capsys):
    assert run(tmp_path / "out", *photographs) == 0
    found = json.loads((tmp_path / "out" / "attributions.json").read_text())
    assert all(image["attributions"] for image in found["images"])
    assert found["unmatched"] == {"0.png": [0]}
    assert "detection 0 is not known" in capsys.readouterr().out


@pytest.mark.parametrize("files", [1, 2, 3], ids=["folder", "annotations", "detections"])
def test_the_first_images_of_a_folder_are_explained(photographs, tmp_path, files):
    """Also where the files say something of others, whose pixels are then not read."""
    (tmp_path / "photographs" / "1.png").write_text("no picture")
    assert run(tmp_path / "out", *photographs[:files], "max_images=1", "questions=[class]") == 0
    (image,) = json.loads((tmp_path / "out" / "attributions.json").read_text())["images"]
    assert image["image"] == "0.png"


def test_detections_without_their_ids_are_refused(photographs, tmp_path, capsys):
    assert run(tmp_path / "out", photographs[0], photographs[2]) == 2
    assert "annotations=FILE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
