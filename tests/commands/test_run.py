"""`detinv run` from the command line: table 1 with two bundled detectors, in small."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from detinv.cli import main
from detinv.experiments.common import setup

SMALL = ("layout.count=2", "steps=2", "trainer.accelerator=cpu", "logger=none")
DETECTORS = "detectors=[shapes_retinanet,shapes_maskrcnn]"


def table1(out_dir: Path, *words: str) -> int:
    return main(["run", "table1_transfer", DETECTORS, "experiment.joint=true", *SMALL, f"out_dir={out_dir}", *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp("runs") / "table1"
    assert table1(out_dir) == 0
    return out_dir


@pytest.fixture
def calls(monkeypatch):
    """What is inverted from now on."""
    made = []
    real = setup.invert
    monkeypatch.setattr(setup, "invert", lambda *args, **options: made.append(args) or real(*args, **options))
    return made


def numbers(out_dir: Path):
    return json.loads((out_dir / "numbers.json").read_text())


ROWS = ["shapes_retinanet", "shapes_maskrcnn-b", "shapes_maskrcnn-m", "all at once", "noise", "real images"]


def test_everything_is_written(finished):
    assert {path.name for path in finished.iterdir()} == {
        "config.yaml", "images", "values", "matrix.csv", "measures.csv", "paper.csv", "matrix.png", "report.html",
        "numbers.json",
    }  # fmt: skip
    keys = {path.name for path in (finished / "images").iterdir()}
    assert keys == {"shapes_retinanet", "shapes_maskrcnn-b", "shapes_maskrcnn-m", "joint", "noise"}
    assert all(len(list((finished / "images" / key).glob("*.png"))) == 2 for key in keys)
    found = numbers(finished)
    assert list(found["numbers"]["AP"]) == ROWS
    assert found["numbers"]["layouts"] == 2
    assert set(found["about"]["weight_hashes"]) == {"shapes_retinanet", "shapes_maskrcnn"}
    assert found["about"]["seed"] == 0 and "torch" in found["about"]["versions"]
    with Image.open(finished / "matrix.png") as picture:
        assert picture.mode == "RGB" and min(picture.size) > 100
    with (finished / "matrix.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["inverted by", "shapes_retinanet", "shapes_maskrcnn, boxes", "shapes_maskrcnn, masks"]
    assert [row[0] for row in rows] == ROWS
    # Real scenes are read by both, two steps from noise by nobody.
    assert min(map(float, rows[-1][1:])) > 50 > 5 > max(map(float, rows[-2][1:]))
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["steps"] == 2 and config["experiment"]["joint"] is True


def test_a_finished_run_is_only_written_again(finished, calls, capsys):
    before = numbers(finished)
    images = {path: path.read_bytes() for path in (finished / "images").rglob("*.png")}
    (finished / "numbers.json").unlink()
    assert table1(finished, "logger=none") == 0
    assert calls == []
    assert numbers(finished)["numbers"] == before["numbers"]
    assert {path: path.read_bytes() for path in (finished / "images").rglob("*.png")} == images
    told = capsys.readouterr().out
    assert "inverting" not in told and "judging" not in told
    assert "matrix.png" in told and "report.html" in told and "inverted by" in told


def test_an_interrupted_run_gives_the_same(finished, calls, capsys):
    before = numbers(finished)["numbers"]
    for path in (finished / "images" / "shapes_maskrcnn-m").glob("*.png"):
        path.unlink()
    (finished / "values" / "judged" / "shapes_maskrcnn-m.json").unlink()
    (finished / "numbers.json").unlink()
    assert table1(finished) == 0
    assert len(calls) == 1
    assert numbers(finished)["numbers"] == before


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("steps=3", "belongs to another run: steps was 2, is 3;"),
        ("layout.count=3", "layout.count was 2, is 3;"),
        ("experiment.joint=false", "experiment.joint was True, is False;"),
        ("detectors=[shapes_retinanet]", "detectors was ['shapes_retinanet', 'shapes_maskrcnn'], is ['shapes_"),
    ],
)
def test_another_run_is_refused_in_the_same_folder(finished, word, problem, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert table1(finished, word) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and problem in message
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run"], ["detinv run needs an experiment"]),
        (["run", "table1_transfer", "detectors=[]"], ["detectors=[]: name at least one detector"]),
        (["run", "table1_transfer", "detectors=[3]"], ["no detector is called '3'"]),
        (["run", "table1_transfer", "detectors=[shapes_fcso]"], ["'shapes_fcso'", "did you mean 'shapes_fcos'?"]),
        (["run", "table1_transfer", "detectors=[shapes_fcos,shapes_fcos]"], ["two are called 'shapes_fcos'"]),
        (["run", "table1_transfer", "detectors=[{weights: x}]"], ["has no name"]),
        (["run", "table1_transfer", "detectors=[{name: shapes_fcos, weights: x.pt}]"], ["x.pt: no such weights file"]),
        (["run", "table1_transfer", "detectors=[{name: shapes_fcos, colour: red}]"], ["colour"]),
        (["run", "table1_transfer", "experiment._target_=builtins.dict"], ["builtins.dict", "trust_config=true"]),
        (
            ["run", "table1_transfer", "experiment._target_=builtins.dict", "trust_config=true"],
            ["builtins.dict is not an experiment"],
        ),
        (["run", "table1_transfer", "batch_size=0"], ["batch_size=0: choose 1 or more"]),
        (["run", "table1_transfer", "layout.world=plane"], ["unknown world 'plane'; did you mean 'plain'?"]),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(words, parts, tmp_path, capsys):
    assert main([*words, f"out_dir={tmp_path / 'out'}", *(SMALL[1:] if len(words) > 1 else ())]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert all(part in message for part in parts), message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["fig10_context", "detectors=[shapes_fcos]"], "unknown class 'bulb'"),
        (["fig10_context", "experiment.judge=nobody"], "no detector is called 'nobody'"),
        (["fig11_position", "experiment.judge=nobody"], "no detector is called 'nobody'"),
        (["fig12_scale", "experiment.judge=nobody"], "no detector is called 'nobody'"),
        (["fig12_scale", "experiment.sides=[20,200]"], "makes a box of 200 x 200 pixels"),
        (["fig4_gallery", "detectors=[shapes_fcos,context_retinanet]"], "unknown class"),
        (["fig5_disentangle", "detectors=[shapes_fcos]", "experiment.judge=null"], "there is no judge"),
    ],
)
def test_what_is_needed_late_is_asked_for_before_anything_is_inverted(words, problem, calls, tmp_path, capsys):
    assert main(["run", *words, *SMALL[1:], f"out_dir={tmp_path / 'out'}"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and problem in message
    assert calls == [] and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_mistake_found_on_the_way_can_be_mended_in_the_same_folder(tmp_path, capsys):
    """Layouts without photographs: said before the first inversion, and the folder is free for the mended run."""
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 128, "width": 128}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 6, 40, 60], "area": 2400, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "star"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    words = ["run", "table1_transfer", "detectors=[shapes_retinanet]", "layout=coco", "layout.count=1", "steps=1"]
    words += [f"layout.annotations={tmp_path / 'a.json'}", f"out_dir={tmp_path / 'out'}", "logger=none"]
    assert main(words) == 2
    assert "images=DIR" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.yaml"]
    Image.new("RGB", (128, 128), (90, 90, 90)).save(tmp_path / "a.png")
    assert main([*words, f"images={tmp_path}"]) == 0
    assert numbers(tmp_path / "out")["numbers"]["layouts"] == 1


@pytest.mark.slow
def test_an_edited_layout_file_gives_other_images_in_the_same_folder(tmp_path, capsys):
    """The experiment's own `layout.count` is for scenes of a world: a file has all its layouts."""
    path, out_dir = tmp_path / "mine.yaml", tmp_path / "out"
    words = ["run", "fig4_gallery", "detectors=[shapes_retinanet]", "layout=file", f"layout.path={path}", "steps=1"]
    pixels = []
    for x in (4, 4, 40):
        path.write_text(f"- {{label: star, box: [{x}, 6, 100, 120]}}\n")
        assert main([*words, "trainer.accelerator=cpu", "logger=none", f"out_dir={out_dir}"]) == 0
        pixels.append((out_dir / "images" / "shapes_retinanet" / "mine.png").read_bytes())
        printed = capsys.readouterr().out
        outdated = "shapes_retinanet: 1 of 1 images are made again; changed: layout"
        assert (outdated in printed.replace("\n", " ")) is (x == 40)
    assert pixels[0] == pixels[1] != pixels[2]


@pytest.mark.parametrize("logger", [pytest.param("wandb", marks=pytest.mark.slow), "tensorboard"])
def test_dashboards_are_told_numbers_and_figures(logger, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    words = ["run", "table1_transfer", "detectors=[shapes_retinanet]", "layout.count=1", "steps=1"]
    assert main([*words, f"logger={logger}", f"out_dir={tmp_path}", "trainer.accelerator=cpu"]) == 0
    if logger == "wandb":
        import wandb

        assert wandb.run is None
        assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
        assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/matrix*.png"))
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (events,) = tmp_path.glob("tensorboard/**/events.*")
        found = EventAccumulator(str(events)).Reload().Tags()
        assert found["images"] == ["matrix"] and "AP/shapes_retinanet/shapes_retinanet" in found["scalars"]
