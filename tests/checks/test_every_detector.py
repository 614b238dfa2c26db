"""The contract, tried on every detector that is registered: bundled ones as they are, others with random weights."""

import pytest

from detinv.checks.adapter import check_adapter
from detinv.config.detectors import detector_names, detector_node
from detinv.detectors.load import load_detector
from detinv.errors import DetectorError
from detinv.inversion.preset import load_preset

SIZES = ((96, 128), (112, 96))
# Sides for vision transformers, whose tokens must suffice for their queries.
TOKENS = {"lw_detr_small": 128, "rf_detr_base": 112}
# The bundled RetinaNet's contract is that of the tiny one in test_adapter.py, where the command checks an FCOS as well.
FIRST = ("nanodet_m",)


def small(node):
    """Options that make a detector cheap: random weights, and an input of about a hundred pixels."""
    if "options" in node:
        size = node["options"]["image_size"]
        return {"options": node["options"] | {"image_size": [128, 128] if isinstance(size, list) else 128}}
    if node.get("weights") == "bundled":
        return {}
    options = {"weights": "random"}
    if "rcnn" in node["name"] and "torchvision" in node["_target_"]:
        # A thousand regions through four convolutions take longer than all the rest.
        options["proposals"] = 24
    if "min_size" in node:
        return options | {"min_size": 96, "max_size": 160}
    if node["name"] in TOKENS:
        return options | {"image_size": [TOKENS[node["name"]]] * 2, "settings": {"num_queries": 40}}
    if node["name"] == "conditional_detr_r50":
        # Of all its queries, two have one score at the limit of the detections under random weights.
        return options | {"image_size": [64, 96], "settings": {"num_queries": 50}}
    size = node["image_size"] or []
    if not isinstance(size, list):
        return options | {"image_size": 64}
    return options | {"image_size": [128, 128] if len(set(size)) == 1 else [64, 96]}


def loaded(name):
    node = detector_node(name)
    try:
        return load_detector(name, **small(node))
    except DetectorError as error:
        if "pip install" in str(error) or "install" in str(error).split(":")[0]:
            pytest.skip(str(error))
        raise


def case(name):
    """Bundled detectors of other heads, and variants of a large network, are slow tests."""
    node = detector_node(name)
    twin = node.get("weights") == "bundled" and name not in FIRST
    large = "torchvision" in node["_target_"] and ("resnet50" in name or "mobilenet" in name)
    large |= "transformers" in node["_target_"] and not name.startswith(("detr", "rtdetr"))
    return pytest.param(name, marks=pytest.mark.slow) if twin or large else name


@pytest.mark.filterwarnings("default")  # what a library's own code warns of is not the adapter's fault
@pytest.mark.parametrize("name", [case(name) for name in detector_names()])
def test_every_registered_detector_keeps_the_contract(name):
    detector = loaded(name)
    # Targets move with the image, so the first few steps may raise the loss; small networks can take more of them.
    few = sum(value.numel() for value in detector.parameters()) < 1e7 or name == "table_transformer"
    steps = 16 if few else 6
    # Detectors that stretch images see the same of both.
    sizes = {detector.network_size(size): size for size in SIZES}
    found = check_adapter(detector, load_preset(), tuple(sizes.values()), steps=steps)
    broken = [verdict for verdict in found if verdict.holds is False]
    assert not broken, broken
    shown = {verdict.claim for verdict in found if verdict.holds}
    assert shown >= {verdict.claim for verdict in found} - {"raw predictions, post-processed, are its inference"}


def test_every_detector_can_be_made_small():
    for name in detector_names():
        small(detector_node(name))
