"""`detinv diagnose`: what it writes about a run, about another detector, about photographs, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from detinv.cli import main
from detinv.config.detectors import detector_node, joint_node
from detinv.metrics.coco_ap import coco_ground_truth
from detinv.results.io.files import prepare_out_dir, write_json, write_png, write_text
from detinv.worlds.plain import PlainWorld

SCENES = [PlainWorld(seed=5).scene(number) for number in range(2)]
OBJECTS = sum(len(scene.layout) for scene in SCENES)


def left_behind(folder: Path, detector: object) -> Path:
    """Write what a run leaves behind whose images are scenes."""
    truth = coco_ground_truth([scene.layout for scene in SCENES], PlainWorld.class_names)
    (folder / "images").mkdir(parents=True)
    for entry, scene in zip(truth["images"], SCENES, strict=True):
        write_png(folder / "images" / entry["file_name"], scene.image.permute(1, 2, 0).contiguous().numpy())
    write_json(folder / "layouts.json", truth)
    write_text(folder / "config.yaml", yaml.safe_dump({"detector": detector, "seed": 0}))
    return folder


def numbers(folder: Path):
    return json.loads((folder / "numbers.json").read_text())


def test_a_run_is_read_by_its_own_detector(tmp_path, capsys):
    run = left_behind(tmp_path / "run", detector_node("shapes_fcos"))
    # At the second score, everything is too low.
    assert main(["diagnose", str(run), f"out_dir={tmp_path / 'found'}"]) == 0
    assert "What is missed, by size" in capsys.readouterr().out
    assert main(["diagnose", str(run), f"out_dir={tmp_path / 'none'}", "score_thresh=0.99999"]) == 0
    assert "Most often, score too low" in capsys.readouterr().out
    found, none = numbers(tmp_path / "found"), numbers(tmp_path / "none")
    assert found["about"]["detector"] == "shapes_fcos"
    assert found["numbers"]["missed"] == 0
    assert found["numbers"]["precision"]["all"]["AP"] == none["numbers"]["precision"]["all"]["AP"] > 60
    assert none["numbers"]["missed"] == none["numbers"]["stages"]["score too low"] == OBJECTS
    with (tmp_path / "none" / "sizes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["side"] == "all"
    assert int(rows[-1]["missed"]) == int(rows[-1]["score too low"]) == OBJECTS
    errors = json.loads((tmp_path / "none" / "errors.json").read_text())
    assert [len(entry["objects"]) for entry in errors] == [len(scene.layout) for scene in SCENES]
    page = (tmp_path / "none" / "report.html").read_text()
    assert "What shapes_fcos misses, and why" in page and "by crowding" in page


def test_another_detector_reads_a_run(tmp_path):
    run = left_behind(tmp_path / "run", detector_node("shapes_fcos"))
    assert main(["diagnose", str(run), "detector=shapes_retinanet", f"out_dir={tmp_path / 'out'}"]) == 0
    assert numbers(tmp_path / "out")["about"]["detector"] == "shapes_retinanet"


def test_all_detectors_of_a_joint_run_are_diagnosed(tmp_path):
    run = left_behind(tmp_path / "run", joint_node(["shapes_fcos", "shapes_retinanet"]))
    assert main(["diagnose", str(run), f"out_dir={tmp_path / 'out'}"]) == 0
    for name in ("shapes_fcos", "shapes_retinanet"):
        assert numbers(tmp_path / "out" / name)["about"]["detector"] == name


def test_a_diagnosis_of_fewer_detectors_leaves_none_of_those_before(tmp_path):
    run, out = left_behind(tmp_path / "run", joint_node(["shapes_fcos", "shapes_retinanet"])), tmp_path / "out"
    assert main(["diagnose", str(run), f"out_dir={out}"]) == 0
    for folder in ("shapes_retinanet", "of_another_command", "notes"):
        write_text(prepare_out_dir(out / folder) / "mine.csv", "")
    for file in ("config.yaml", "errors.json", "report.html"):
        write_text(out / "of_another_command" / file, "")
    assert main(["diagnose", str(run), "detector=shapes_fcos", f"out_dir={out}"]) == 0
    assert numbers(out)["about"]["detector"] == "shapes_fcos"
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.parent != out}
    others = {f"of_another_command/{file}" for file in ("config.yaml", "errors.json", "report.html")}
    assert left == {f"{folder}/mine.csv" for folder in ("shapes_retinanet", "of_another_command", "notes")} | others
    assert not (out / "shapes_fcos").exists()


def test_photographs_need_no_run(tmp_path):
    run = left_behind(tmp_path / "run", None)
    words = [f"images={run / 'images'}", f"annotations={run / 'layouts.json'}", f"out_dir={tmp_path / 'out'}"]
    assert main(["diagnose", *words, "detector=shapes_fcos"]) == 0
    assert numbers(tmp_path / "out")["numbers"]["objects"] == OBJECTS


def foreign(node):
    return {**node, "_target_": "os.system"}


@pytest.mark.parametrize(
    ("detector", "words", "said"),
    [
        (None, [], "names no detector; give one with detector=NAME"),
        (foreign(detector_node("shapes_fcos")), [], "trust_config=true"),
        ({**detector_node("shapes_fcos"), "trust_weights": True}, [], "'trust_weights' may not be set by a file"),
        (detector_node("shapes_fcos"), ["detector=[shapes_fcos,shapes_retinanet]"], "detector: choose one"),
        (detector_node("shapes_fcos"), ["score_thresh=2"], "score_thresh=2: choose at least 0, at most 1"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, capsys, detector, words, said):
    run = left_behind(tmp_path / "run", detector)
    assert main(["diagnose", str(run), f"out_dir={tmp_path / 'out'}", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_name_in_the_file_of_a_run_leads_out_of_no_folder(tmp_path):
    node = joint_node(["shapes_fcos", "shapes_retinanet"])
    node["members"]["../../elsewhere"] = node["members"].pop("shapes_fcos")
    run = left_behind(tmp_path / "run", node)
    assert main(["diagnose", str(run), f"out_dir={tmp_path / 'a' / 'out'}"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "run"]
    assert len(list((tmp_path / "a" / "out").glob("*/numbers.json"))) == 2


def test_the_run_itself_is_not_written_over(tmp_path, capsys):
    run = left_behind(tmp_path / "run", detector_node("shapes_fcos"))
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert main(["diagnose", str(run), f"out_dir={run}"]) == 2
    assert f"out_dir {run} holds the results of another command; choose another out_dir" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "no finished detinv invert, as it has no config.yaml" in capsys.readouterr().err
    assert main(["diagnose"]) == 2
    assert "give the out_dir of a detinv invert" in capsys.readouterr().err
