"""Detectron2's detectors by name: the target of configs/detector/d2_*.yaml.

Detectron2 is optional and imported only when a detector is loaded.
"""

import os
from collections.abc import Sequence
from typing import Any

from detinv.config.trust import require_trusting
from detinv.detectors.base import AbstractDetector
from detinv.detectors.class_names import read_class_names
from detinv.detectors.detectron2.quiet import quiet_import, trigger_first_warnings
from detinv.errors import DetectorError
from detinv.zoo.class_columns import ClassColumns

RANDOM, ZOO = "random", "zoo"
INSTALL_GUIDE = "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"


def load_detectron2(
    model: str,
    class_names: str | Sequence[str],
    weights: str = ZOO,
    trust_weights: bool = False,
    min_size: int | None = None,
    max_size: int | None = None,
    input_format: str | None = None,
) -> AbstractDetector:
    """Load one of Detectron2's detectors: RetinaNet, FCOS, Faster R-CNN or Mask R-CNN, frozen, on the CPU.

    Args:
        model: see `read_configuration`.
        class_names: of the classes 0 ... K-1; see `read_class_names`.
        weights: "zoo" for the model zoo's weights of `model`, "random" for none, or a path; see
            `load_detectron2_weights`.
        trust_weights: whether weights that are a pickle, as all of the model zoo's are, may be opened.
        min_size, max_size, input_format: see `Preprocessing`; by default the configuration's.

    Raises:
        DetectorError: when Detectron2 is not installed, the model is unknown or not supported, or the weights are
            missing, not trusted or do not fit.
        ConfigError: when `model` is a file and configurations are not trusted.
    """
    names = read_class_names(class_names)
    if os.path.isfile(model):
        require_trusting(f"{model}: configurations of Detectron2 are programs, and this one would be run")
    with quiet_import():
        _require_detectron2()
        from detinv.detectors.detectron2.library import read_configuration
        from detinv.detectors.detectron2.weights import load_detectron2_weights, zoo_weights
    trigger_first_warnings()
    configuration = read_configuration(model)
    preprocessing = configuration.preprocessing(min_size, max_size, input_format)
    network = configuration.build()
    # Before weights are located, as a model that is not supported needs none.
    detector = _adapter(network)(network, names, preprocessing)
    if weights != RANDOM:
        path = zoo_weights(configuration.zoo_name, trust_weights) if weights == ZOO else weights
        # Only the second stage has a column for the background.
        background = int(hasattr(network, "roi_heads"))
        load_detectron2_weights(network, path, trust_weights, ClassColumns(len(names) + background, background))
    return detector


def _require_detectron2() -> None:
    try:
        import detectron2.modeling  # noqa: F401
    except ImportError as error:
        raise DetectorError(
            f"this detector needs Detectron2, which cannot be imported ({error}); it is not on the package index, "
            f"install it by its own guide: {INSTALL_GUIDE}"
        ) from error


def _adapter(network: Any) -> Any:
    """Return the adapter class; types are compared exactly, as subclasses have an inference of their own."""
    from detectron2.modeling.meta_arch import FCOS, GeneralizedRCNN, RetinaNet

    from detinv.detectors.detectron2.common import unsupported
    from detinv.detectors.detectron2.fcos import Detectron2FCOS
    from detinv.detectors.detectron2.rcnn import Detectron2RCNN
    from detinv.detectors.detectron2.retinanet import Detectron2RetinaNet

    adapters = {RetinaNet: Detectron2RetinaNet, FCOS: Detectron2FCOS, GeneralizedRCNN: Detectron2RCNN}
    if type(network) not in adapters:
        raise unsupported(f"a model of type {type(network).__name__}")
    return adapters[type(network)]
