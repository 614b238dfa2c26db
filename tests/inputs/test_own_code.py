"""Results made by code of one's own are told from those of the same code after a change."""

import importlib
import sys

import pytest
from omegaconf import OmegaConf

from detinv.errors import OutputError
from detinv.inputs import own_code as module_under_test
from detinv.inputs.fingerprint import settings_hash
from detinv.inputs.own_code import own_code
from detinv.inputs.path_modules import importable_by_path, module_name
from detinv.inversion.resume.fingerprint import detector_hash
from detinv.inversion.run import invert
from detinv.layouts.layout import Layout
from detinv.sweeps.inputs import inputs_of
from tests.fakes import tiny_detector

ADAPTER = """
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from parts.order import ORDER

class Mine(TorchvisionRetinaNet):
    def forward(self, pixels, image_sizes=None, regions=None):
        # As the network learnt them.
        return super().forward(pixels[:, ORDER], image_sizes, regions)
"""


@pytest.fixture(autouse=True)
def new_process():
    """Forget what the process knows of files, as the next command would."""

    def forget():
        for name in [name for name in sys.modules if name.startswith("folder:")]:
            del sys.modules[name]
        module_under_test._root.cache_clear()
        for remembered in (module_under_test._known, module_under_test._files):
            remembered.clear()

    importable_by_path()
    yield forget
    forget()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "order.py").write_text("from ..limits import LEAST\nORDER = [LEAST, 1, 2]\n")
    (tmp_path / "limits.py").write_text("import torch\nLEAST = 0\n")
    (tmp_path / "unrelated.py").write_text("ANY = 1\n")
    (tmp_path / "adapter.py").write_text(ADAPTER)
    return tmp_path


def replace_in(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("file", "before", "after", "counts"),
    [
        ("adapter.py", "image_sizes, regions)\n", "image_sizes)\n", True),
        ("parts/order.py", "[LEAST, 1, 2]", "[2, 1, LEAST]", True),
        ("limits.py", "LEAST = 0", "LEAST = 0 * 1", True),
        ("parts/__init__.py", "", "FIRST = True\n", True),
        ("adapter.py", "# As the network learnt them.", "# In the order of training.", False),
        ("unrelated.py", "ANY = 1", "ANY = 100", False),
    ],
)
def test_what_a_module_imports_counts_and_nothing_else(folder, new_process, file, before, after, counts):
    name = module_name(folder, "adapter")
    first = own_code(name)
    assert first is not None
    replace_in(folder / file, before, after)
    new_process()
    assert (own_code(name) != first) == counts


@pytest.mark.parametrize("name", ["torch.nn", "json", "detinv.detectors.base", "__main__", "no_such_module", "sys"])
def test_what_is_installed_has_no_code_of_its_own(name):
    assert own_code(name) is None


def mine(folder):
    module = __import__(module_name(folder, "adapter"), fromlist=["Mine"])
    right = tiny_detector("retinanet")
    return module.Mine(right.model, right.class_names)


def test_an_inversion_by_an_adapter_that_was_changed_is_refused(folder, new_process, tmp_path):
    names = mine(folder).class_names
    layouts = [Layout.from_objects([(names[0], (2, 2, 40, 40))], size=(64, 64), class_names=names)]
    options = {"steps": 1, "trainer": {"accelerator": "cpu"}, "progress": False, "folder": tmp_path / "run"}
    invert(mine(folder), layouts, **options)
    before = detector_hash(mine(folder))
    new_process()
    assert detector_hash(mine(folder)) == before
    invert(mine(folder), layouts, **options)
    replace_in(folder / "adapter.py", "pixels[:, ORDER]", "pixels.flip(1)")
    new_process()
    assert detector_hash(mine(folder)) != before
    with pytest.raises(OutputError, match="holds images with the code of its detector .*; choose another out_dir"):
        invert(mine(folder), layouts, **options)


def test_a_loss_of_ones_own_counts_with_its_code(folder, new_process):
    (folder / "loss.py").write_text("class Loss:\n    def __call__(self, value):\n        return value\n")

    def hashed():
        new_process()
        return settings_hash(__import__(module_name(folder, "loss"), fromlist=["Loss"]).Loss())

    before = hashed()
    assert hashed() == before
    replace_in(folder / "loss.py", "return value", "return 2 * value")
    assert hashed() != before


@pytest.mark.parametrize("name", ["adapter", "limits"])
def test_a_module_that_is_loaded_again_counts_with_its_new_code(folder, name):
    """As a notebook does when a file has been edited, by `importlib.reload` or `%autoreload`."""
    adapter, edited = module_name(folder, "adapter"), module_name(folder, name)
    importlib.import_module(adapter)
    before = own_code(adapter)
    with (folder / f"{name}.py").open("a") as file:
        file.write("MORE = 1\n")
    assert own_code(adapter) == before, "the process runs the former code"
    importlib.reload(sys.modules[edited])
    assert own_code(adapter) != before


def test_a_job_of_a_sweep_is_made_from_the_code_of_its_adapter(folder, new_process):
    target = module_name(folder, "adapter.Mine")

    def inputs():
        new_process()
        return inputs_of(OmegaConf.create({"detector": {"_target_": target}}), {}, folder / "study")

    before = inputs()
    assert inputs() == before
    replace_in(folder / "limits.py", "LEAST = 0", "LEAST = 0 * 1")
    changed = {name for name, value in inputs().items() if before[name] != value}
    assert changed == {"adapter.Mine"}
