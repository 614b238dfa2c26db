"""The command line: quick help, and one clear line for every mistake."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import detinv
from detinv import cli
from detinv.config.commands import COMMANDS
from detinv.errors import LayoutError

HEAVY = ("torch", "torchvision", "pytorch_lightning", "kornia", "wandb", "hydra", "omegaconf", "numpy")


def run_cli(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "detinv", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(Path(detinv.__file__).parents[1]), "PATH": ""},
        timeout=120,
        check=False,
    )


def loaded_after(code):
    """Which heavy libraries a fresh interpreter has loaded after running `code`."""
    script = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(detinv.__file__).parents[1]), "PATH": ""},
        timeout=120,
        check=True,
    )
    return process.stderr.split()


@pytest.mark.parametrize(
    "code",
    [
        "import detinv",
        "from detinv.cli import main; main(['--help'])",
        *(f"from detinv.cli import main; main([{name!r}, '--help'])" for name in COMMANDS),
    ],
)
def test_help_loads_nothing_heavy(code):
    assert loaded_after(code) == []


def test_public_names_are_listed_and_load_when_asked_for():
    assert set(detinv.__all__) <= set(dir(detinv))
    for name in detinv.__all__:
        assert getattr(detinv, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'inver'"):
        detinv.inver  # noqa: B018


def test_help_names_all_commands(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_version_is_the_package_s(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"detinv {detinv.__version__}\n"


def test_module_and_mistakes_end_with_their_status(tmp_path):
    assert run_cli("--version", cwd=tmp_path).returncode == 0
    mistake = run_cli("trian", cwd=tmp_path)
    assert mistake.returncode == 2
    assert mistake.stdout == ""
    assert mistake.stderr.count("\n") == 1
    assert "did you mean 'train'?" in mistake.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["invert", "steps=3\r"], ["'steps=3\\r' holds '\\r'", "line ends of Windows"]),
        (["invert", "out_dir=a\tb"], ["'out_dir=a\\tb' holds '\\t'", "leave it out"]),
        (["invrt"], ["unknown command 'invrt'", "did you mean 'invert'?"]),
        (["--hlep"], ["unknown option '--hlep'"]),
        (["train", "--steps=3"], ["unknown option '--steps=3'", "name=value: steps=3"]),
        (["train", "steps"], ["cannot read 'steps'", "name=value"]),
        (["train", "stpes=3"], ["no option 'stpes'", "did you mean 'steps'?"]),
        (["train", "data.sede=3"], ["no option 'data.sede'", "did you mean 'data.seed'?"]),
        (["train", "modle=shapes_fcos"], ["no option 'modle'", "did you mean 'model'?"]),
        (["train", "model=shapes_fco"], ["unknown model 'shapes_fco'", "did you mean 'shapes_fcos'?"]),
        (["train", "detector=shapes_retinanett"], ["unknown detector", "did you mean 'shapes_retinanet'?"]),
        (["train", "experiment=nothing"], ["unknown experiment 'nothing'"]),
        (["run", "_target_"], ["unknown experiment '_target_'"]),
        (["train", "model=_own"], ["unknown model '_own'"]),
        (["train", "model=bccd_retinanet"], ["detinv train needs data.root=...", "folder that holds"]),
        (["train", "model=bccd_retinanet", "data.root=/nowhere"], ["data.root=/nowhere: no such folder"]),
        (["train", "steps=abc"], ["steps='abc': expected a whole number, such as its default 2500"]),
        (["train", "steps=2.5"], ["steps=2.5: expected a whole number"]),
        (["train", "learning_rate=true"], ["learning_rate=True: expected a number"]),
        (["train", "data.image_size=64"], ["data.image_size=64: expected a list"]),
        (["train", "data=1"], ["data=1: expected named values"]),
        (["train", "steps=["], ["cannot read 'steps=['", "opens a list and does not close it"]),
        (
            ["train", "data.image_size=[64,", "64]", "steps=3"],
            ["put the whole of it in quotes: 'data.image_size=[64, 64]'"],
        ),
        (["train", "data.image_size=[64,64"], ["does not close it", "in quotes: 'data.image_size=[a, b]'"]),
        (["train", "steps =3"], ["leave out the spaces around its name: steps=3"]),
        (["train", "steps[0]=3"], ["cannot read 'steps[0]=3'; write name=value\n"]),
        (["train", "=3"], ["cannot read '=3'; write name=value"]),
        (["invert", "detector=[]"], ["detector=[]: detinv invert needs one of its choices"]),
        (["train", "@steps=3"], ["cannot read '@steps=3'; write name=value"]),
        (["invert", "logger=[wandb,tensorboard]"], ["tensorboard would replace wandb; choose one of them"]),
        (["invert", "layout.annotations=a.json"], ["is an option of layout=coco only; choose it as well"]),
        (["train", "steps=1,2"], ["steps=1,2 lists several values", "detinv train -m steps=1,2"]),
        (["train", "steps=range(1,3)"], ["detinv train -m 'steps=range(1,3)'"]),
        (["train", "data.image_size=64,64"], ["for one list: data.image_size=[64,64]"]),
        (
            ["train", "data.world=plain,shape"],
            ["detinv train -m data.world=plain,shape", "'data.world=\"plain,shape\"'"],
        ),
        (["train", "model=shapes_fcos,shapes_retinanet"], ["detinv train -m model=shapes_fcos,shapes_retinanet"]),
        (["train", "steps=a=b"], ["cannot read 'steps=a=b'", "in quotes: 'steps=\"a=b\"'"]),
        (["train", "+data.colour=red"], ["an option that its target does not have", "colour"]),
        (["train", "steps=0"], ["steps=0: choose at least 1"]),
        (["train", "data.evaluation_seed=1"], ["data.seed and data.evaluation_seed are both 1"]),
        (["train", "detector=bccd_retinanet"], ["bccd_retinanet knows the classes RBC"]),
        (["invert", "layout=coco"], ["detinv invert needs layout.annotations=..."]),
        (["detect"], ["detinv detect needs images=..."]),
        (["detect", "images="], ["images= is empty", "images=. for this folder"]),
        (["invert", "out_dir="], ["out_dir= is empty"]),
        (["run"], ["detinv run needs an experiment: detinv run NAME", "there are: ", "table1_transfer"]),
        (["run", "steps=2"], ["detinv run needs an experiment"]),
        (["run", "table1_transfr"], ["unknown experiment 'table1_transfr'; did you mean 'table1_transfer'?"]),
        (
            ["run", "diagonal_plain"],
            ["diagonal_plain only sets options of an inversion", "detinv invert experiment=diagonal_plain"],
        ),
        (["invert", "experiment=table1_transfer"], ["table1_transfer is an experiment", "detinv run table1_transfer"]),
        (["train", "experiment=table1_transfer"], ["detinv run table1_transfer"]),
        (["invert", "experiment=diagonal_plan"], ["did you mean 'diagonal_plain'?"]),
        (["run", "table1_transfer", "experiment.jiont=true"], ["did you mean 'experiment.joint'?"]),
        (["run", "table1_transfer", "experiment.joint=3"], ["experiment.joint=3: expected true or false"]),
        (["run", "table1_transfer", "detectors=shapes_fcos"], ["expected a list, such as its default ["]),
        (["run", "table1_transfer", "steps=-1"], ["steps=-1: choose 0 or more"]),
        (["run", "table1_transfer", "detectors=[]"], ["detectors=[]: name at least one"]),
    ],
)
def test_mistakes_are_told_in_one_line(words, parts, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("detinv: ")
    assert told.err.count("\n") == 1
    for part in parts:
        assert part in told.err
    assert list(tmp_path.iterdir()) == []


def command(monkeypatch, run):
    """Put a command in the place of `train`."""
    module = types.ModuleType("detinv.commands.train")
    module.run = run
    monkeypatch.setitem(sys.modules, "detinv.commands.train", module)


def test_a_layout_error_of_a_command_becomes_one_line(capsys, monkeypatch):
    def run(config, build):
        raise LayoutError("first line\n  second line")

    command(monkeypatch, run)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "detinv: first line second line\n"


def test_an_interruption_ends_quietly(capsys, monkeypatch):
    def run(config, build):
        raise KeyboardInterrupt

    command(monkeypatch, run)
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err == "detinv: interrupted\n"


def test_lightning_s_way_of_passing_on_an_interruption_is_understood(monkeypatch):
    def run(config, build):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    command(monkeypatch, run)
    assert cli.main(["train"]) == 130


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit(7)])
def test_other_errors_are_not_hidden(error, monkeypatch):
    def run(config, build):
        raise error

    command(monkeypatch, run)
    with pytest.raises(type(error)):
        cli.main(["train"])


def test_a_command_gets_the_composed_values(monkeypatch):
    seen = {}

    def run(config, build):
        seen["config"] = config

    command(monkeypatch, run)
    assert cli.main(["train", "model=shapes_fcos", "steps=7", "data.seed=3"]) == 0
    config = seen["config"]
    assert (config.steps, config.data.seed, config.detector.name) == (7, 3, "shapes_fcos")
    assert Path(config.out_dir).parent == Path("outputs")
    assert config.out_dir.endswith("_train")


def test_a_notebook_s_way_of_drawing_is_not_needed(tmp_path):
    code = "import sys; sys.argv = ['detinv', '--version']; from detinv.cli import main; main(); import matplotlib"
    environment = {"PYTHONPATH": str(Path(detinv.__file__).parents[1]), "MPLBACKEND": "module://nowhere.to_be_found"}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, timeout=120, check=True)


def test_a_bare_word_is_the_subject_of_a_command_that_has_one():
    assert cli._override(COMMANDS["bench"], "step") == "benchmark=step"
