"""`detinv invert`, `detect` and `bench` from the command line, with the bundled detectors."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from detinv.cli import main

QUICK = ("steps=3", "trainer.accelerator=cpu", "logger=none")


def invert(out_dir: Path, *words: str) -> int:
    return main(["invert", f"out_dir={out_dir}", *QUICK, *words])


def read(path: Path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp("runs") / "plain"
    assert invert(out_dir, "layout=plain", "layout.count=3", "batch_size=2", "detector=shapes_maskrcnn") == 0
    return out_dir


def test_everything_is_written(plain_run: Path):
    names = {path.name for path in plain_run.iterdir()}
    assert names == {
        "images",
        "layouts.json",
        "detections.json",
        "metrics.json",
        "losses.csv",
        "config.yaml",
        "overview.png",
        "report.html",
        "progress",
    }
    truth, metrics = read(plain_run / "layouts.json"), read(plain_run / "metrics.json")
    assert {image["file_name"] for image in truth["images"]} == {path.name for path in (plain_run / "images").iterdir()}
    assert {annotation["image_id"] for annotation in truth["annotations"]} <= {i["id"] for i in truth["images"]}
    wanted = {"AP", "AP50", "AP75", "mask_AP", "objects", "redetected", "false_positives", "steps", "seconds"}
    wanted |= {"seconds_per_step", "versions", "seed", "weight_hash", "planted_orientation"}
    assert wanted <= set(metrics)
    assert metrics["objects"] == len(truth["annotations"])
    config = yaml.safe_load((plain_run / "config.yaml").read_text())
    assert config["steps"] == 3
    assert config["layout"]["count"] == 3


def test_losses_have_a_row_for_the_last_step_of_each_batch(plain_run: Path):
    with open(plain_run / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["batch"], row["step"]) for row in rows} >= {("0", "2"), ("1", "2")}
    assert {"total", "rpn_cls", "rpn_reg", "roi_cls", "roi_reg", "roi_positive", "roi_mask"} <= set(rows[0])


def test_detections_are_those_of_the_saved_images(plain_run: Path, tmp_path: Path):
    """`detinv detect` on the written PNGs finds exactly what invert reported."""
    arguments = [f"images={plain_run / 'images'}", f"annotations={plain_run / 'layouts.json'}"]
    assert main(["detect", "detector=shapes_maskrcnn", *arguments, f"out_dir={tmp_path}"]) == 0
    assert read(tmp_path / "detections.json") == read(plain_run / "detections.json")
    ours, again = read(plain_run / "metrics.json"), read(tmp_path / "metrics.json")
    assert {name: again[name] for name in ("AP", "AP50", "mask_AP", "redetected")} == {
        name: ours[name] for name in ("AP", "AP50", "mask_AP", "redetected")
    }


def test_detect_without_annotations_and_on_sizes_of_all_kinds(tmp_path: Path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, size in (("a.png", (90, 200, 3)), ("b.jpg", (128, 128, 3))):
        Image.fromarray(generator.integers(0, 255, size, dtype=np.uint8)).save(folder / name)
    assert main(["detect", f"images={folder}", f"out_dir={tmp_path / 'out'}"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"detections.json", "images.json", "overview.png", "config.yaml"}
    assert main(["detect", "--help"]) == 0
    described = capsys.readouterr().out
    assert all(name in described for name in names)
    images = read(tmp_path / "out" / "images.json")["images"]
    assert [(image["id"], image["file_name"], image["width"]) for image in images] == [
        (1, "a.png", 200),
        (2, "b.jpg", 128),
    ]


def test_detections_carry_the_numbers_of_the_annotation_file(plain_run: Path, tmp_path: Path):
    """A file whose image and category ids have gaps: its own member must accept the results."""
    truth = read(plain_run / "layouts.json")
    new_image = {image["id"]: 7 + 10 * image["id"] for image in truth["images"]}
    new_category = {category["id"]: 3 + 5 * category["id"] for category in truth["categories"]}
    for image in truth["images"]:
        image["id"] = new_image[image["id"]]
    for category in truth["categories"]:
        category["id"] = new_category[category["id"]]
    for annotation in truth["annotations"]:
        annotation["image_id"] = new_image[annotation["image_id"]]
        annotation["category_id"] = new_category[annotation["category_id"]]
    (tmp_path / "gaps.json").write_text(json.dumps(truth))
    words = [f"images={plain_run / 'images'}", f"annotations={tmp_path / 'gaps.json'}", f"out_dir={tmp_path / 'out'}"]
    assert main(["detect", "detector=shapes_maskrcnn", *words]) == 0
    ours, theirs = read(plain_run / "detections.json"), read(tmp_path / "out" / "detections.json")
    assert [(new_image[o["image_id"]], new_category[o["category_id"]], o["score"]) for o in ours] == [
        (t["image_id"], t["category_id"], t["score"]) for t in theirs
    ]


def test_a_few_steps_find_objects_that_noise_does_not_have(tmp_path: Path):
    """The main job in small: more steps, higher AP, from a start image without any."""
    values = {}
    for steps in (0, 40):
        out_dir = tmp_path / str(steps)
        assert invert(out_dir, f"steps={steps}", "layout=plain", "layout.count=1", "detector=shapes_retinanet") == 0
        values[steps] = read(out_dir / "metrics.json")["AP"]
    assert values[0] == 0
    assert values[40] > 60


def test_an_empty_layout_gives_an_image_without_detections(tmp_path: Path):
    layout = tmp_path / "empty.yaml"
    layout.write_text("[]\n")
    assert invert(tmp_path / "out", "layout=file", f"layout.path={layout}", "steps=5") == 0
    assert read(tmp_path / "out" / "metrics.json")["objects"] == 0
    assert read(tmp_path / "out" / "metrics.json")["AP"] is None


@pytest.mark.slow
def test_experiment_preset_sets_the_layouts(tmp_path: Path):
    assert invert(tmp_path / "out", "experiment=diagonal_plain", "layout.count=1") == 0
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert config["layout"]["seed"] == 7


@pytest.mark.parametrize("world", ["texture", pytest.param("shape", marks=pytest.mark.slow)])
def test_stripes_are_looked_for_where_the_world_has_planted_them(world: str, tmp_path: Path):
    assert invert(tmp_path, f"layout={world}", "layout.count=2", f"detector={world}_retinanet", "steps=1") == 0
    metrics = read(tmp_path / "metrics.json")
    assert ("planted_orientation" in metrics) == ("striped_objects" in metrics) == (world == "texture")
    if world == "texture":
        truth = read(tmp_path / "layouts.json")
        names = {category["id"]: category["name"] for category in truth["categories"]}
        striped = [one for one in truth["annotations"] if names[one["category_id"]] != "dotted"]
        assert metrics["striped_objects"] == len(striped)


@pytest.mark.parametrize("logger", ["wandb", pytest.param("tensorboard", marks=pytest.mark.slow)])
def test_dashboards_run_offline_and_are_closed(logger: str, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert invert(tmp_path / "out", f"logger={logger}", "log_images_every_n_steps=2") == 0
    if logger == "wandb":
        import wandb

        assert wandb.run is None
        assert list((tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb"))
    else:
        assert list((tmp_path / "out" / "tensorboard").glob("events.*"))


LAYOUT = "- {label: star, box: [10, 10, 50, 50]}\n"


@pytest.mark.parametrize(
    ("text", "words", "parts"),
    [
        ("- {label: stra, box: [10, 10, 50, 50]}\n", (), ("stra", "star")),
        ("- {label: star, box: [50, 10, 10, 50]}\n", (), ("reversed",)),
        ("- {label: star, box: [10, 10, 500, 50]}\n", (), ("outside",)),
        ("- {label: star, box: [10, .nan, 50, 50]}\n", (), ("object 1",)),
        ("- {label: star, box: [10, 10\n", (), ("layout.yaml",)),
        (LAYOUT, ("detector=shapes_retinante",), ("shapes_retinante", "shapes_retinanet")),
        (LAYOUT, ("detector.weights=nowhere.safetensors",), ("nowhere.safetensors",)),
        (LAYOUT, ("stesp=3",), ("stesp", "steps")),
        (LAYOUT, ("preset=defualt",), ("defualt", "default")),
        (LAYOUT, ("preset.objective.weights.clss=3",), ("clss", "cls")),
        (LAYOUT, ("steps=-1",), ("steps", "-1")),
        (LAYOUT, ("batch_size=0",), ("batch_size", "0")),
        (LAYOUT, ("trainer.precision=bf16-true",), ("precision", "bf16-mixed")),
        (LAYOUT, ("log_images_every_n_steps=0",), ("log_images_every_n_steps",)),
        (LAYOUT, ("preset.augmentation.hold=0",), ("hold",)),
        (LAYOUT, ("trainer.accelerator=abacus",), ("accelerator",)),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(text, words, parts, tmp_path: Path, capsys):
    layout = tmp_path / "layout.yaml"
    layout.write_text(text)
    assert invert(tmp_path / "out", "layout=file", f"layout.path={layout}", *words) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert all(part in message for part in parts), message
    assert not (tmp_path / "out").exists()


def test_an_out_dir_that_cannot_be_made(tmp_path: Path, capsys):
    (tmp_path / "file").write_text("")
    assert invert(tmp_path / "file" / "out") == 2
    assert "file" in capsys.readouterr().err


def test_more_objects_than_the_detector_reports(tmp_path: Path, capsys):
    layout = tmp_path / "many.yaml"
    layout.write_text("".join(f"- {{label: star, box: [{i % 120}, 0, {i % 120 + 5}, 20]}}\n" for i in range(301)))
    assert invert(tmp_path / "out", "layout=file", f"layout.path={layout}") == 2
    assert "301" in capsys.readouterr().err


def test_no_number_of_a_joint_inversion_is_cut_off(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = ["detector=[shapes_retinanet,shapes_fcos]", "steps=0", "logger=none", f"out_dir={tmp_path / 'out'}"]
    assert main(["invert", *words]) == 0
    told = capsys.readouterr().out
    rows = [line.rstrip() for line in told.splitlines() if line.startswith(("┃", "│"))]
    assert "images: 1, steps: 0, seconds: " in told and "false positives" in told
    assert len(rows) == 3 and all(line.endswith(("┃", "│")) for line in rows)
