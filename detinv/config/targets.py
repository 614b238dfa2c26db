"""What a configuration may name without being trusted: builders whose arguments cannot make them run other code.

Only whole names are listed. A package would let far too much through: each of its modules reaches `torch.load`,
`os.system` and the like by attributes, and some of detinv's own functions write files.
"""

import re
from functools import cache

from detinv.config.folders import config_dir, experiment_dir

_ENTRY = re.compile(r"""(?:^|[\s{,])(?:_target_|adapter)\s*:\s*["']?([\w.]+)""")
_COMMENT = re.compile(r"(?:^|\s)#.*")

# Of libraries, in addition to those that the shipped files name.
_OPTIMIZERS = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")
_TORCHVISION = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
# What detinv's own code builds from a configuration, without a file that names it.
_WITHOUT_FILE = (
    "detinv.detectors.torchvision.ssd.TorchvisionSSD",
    "detinv.detectors.transformers.detr.TransformersDETR",
    "detinv.detectors.transformers.queries.TransformersQueries",
    "detinv.detectors.transformers.rtdetr.TransformersRTDETR",
    "detinv.detectors.transformers.two_stage.TransformersTwoStage",
    "detinv.inversion.modules.ensemble.assemble_ensemble",
)


@cache
def allowed_targets() -> frozenset[str]:
    """Collect the dotted names, complete: all that the YAML files of detinv name, and some builders of libraries.

    A file in a folder of configurations is thus the only registration of a part. The files are read once, when a
    configuration is first checked.
    """
    files = [*config_dir().rglob("*.yaml"), *experiment_dir().rglob("*.yaml")]
    named = {target for path in files for target in _named_in(path.read_text(encoding="utf-8"))}
    libraries = {f"torch.optim.{name}" for name in _OPTIMIZERS}
    libraries |= {f"torchvision.models.detection.{name}" for name in _TORCHVISION}
    return frozenset(named | libraries | set(_WITHOUT_FILE))


def moved_to(target: str) -> str | None:
    """Find the present name of a part of detinv that an earlier version kept elsewhere; None if there is none."""
    parts = target.split(".")
    if parts[0] != "detinv" or not all(map(str.isidentifier, parts)) or target in allowed_targets():
        return None
    name = parts[-1]
    name = _RENAMED.get(name, name)
    found = [one for one in allowed_targets() if one.startswith("detinv.") and one.rpartition(".")[2] == name]
    return found[0] if len(found) == 1 else None


_RENAMED = {"Recipe": "Preset"}


def _named_in(text: str) -> set[str]:
    """Read the targets of a YAML file without parsing it, which takes a hundred times as long."""
    return {target for line in text.splitlines() for target in _ENTRY.findall(_COMMENT.sub("", line))}
