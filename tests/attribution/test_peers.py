"""The same maps by grad-cam, captum and xaitk-saliency: same model, layer and scalar."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import detinv
from detinv.attribution.core.forward import canvas_of, run_forward
from detinv.attribution.core.objects import ExplainedObjects, detected_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.raw_outputs import raw_outputs
from detinv.attribution.load import load_method
from detinv.attribution.methods.features.grad_cam_plus_plus import GradCAMPlusPlus
from detinv.attribution.methods.gradients.gradient import Gradient
from detinv.attribution.methods.gradients.gradient_times_input import GradientTimesInput
from detinv.attribution.methods.gradients.guided_backprop import GuidedBackprop
from detinv.attribution.methods.gradients.integrated_gradients import IntegratedGradients
from detinv.attribution.methods.perturbations.d_rise import DRISE
from detinv.attribution.methods.perturbations.occlusion import Occlusion
from detinv.benchmarks import peers
from detinv.detectors.base import AbstractDetector
from detinv.layouts.boxes import pairwise_iou
from detinv.worlds.part import PartWorld
from tests.fakes import tiny_detector

pytestmark = pytest.mark.weights

# Of the larger of both maps' maxima.
TOLERANCE = 1e-4
_LOUDER = 1e5
CLASS = Question("class")


@dataclass
class Subject:
    detector: AbstractDetector
    image: Tensor
    objects: ExplainedObjects

    def ours(self, method, name: str = "class") -> Tensor:
        """Return our map on the photograph, which is the network's canvas."""
        boxes, labels = self.objects.boxes, self.objects.labels
        (one,) = detinv.attribute(self.detector, [self.image], [boxes], [labels], questions=(name,), method=method)
        return one.heat()

    def network(self, origin: Tensor | None = None) -> peers.ScalarNetwork:
        return peers.ScalarNetwork(self.detector, self.image, self.objects, CLASS, origin)

    @property
    def mean(self) -> Tensor:
        return self.detector.pixel_mean[:, None, None]


@pytest.fixture(scope="module", params=["part_retinanet", "part_fasterrcnn"])
def subject(request) -> Subject:
    detector, image = detinv.load_detector(request.param), PartWorld(seed=5).scene(1).image
    (found,) = detector.detect([image])
    objects, _ = detected_objects(detector, image, found.above(0.5))
    # As `detinv.attribute` sees it when it is given the box: the region is the box itself.
    one = objects.select(torch.tensor([0]))
    return Subject(detector, image, one if one.regions is None else replace(one, regions=one.boxes, proposals=None))


def needs(peer: str) -> None:
    if not peers.installed(peer):
        pytest.skip(f"{peer} is not installed (pip install 'detinv[peers]')")


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    scale = max(float(ours.abs().max()), float(theirs.abs().max()))
    assert scale > 0
    torch.testing.assert_close(ours / scale, theirs.to(ours) / scale, atol=TOLERANCE, rtol=0)


def unit(heat: Tensor) -> Tensor:
    """Return a map from 0 to 1, as grad-cam scales it."""
    return (heat - heat.min()) / (heat.max() - heat.min())


def leaf(network: peers.ScalarNetwork) -> Tensor:
    """Return the image as captum wants it: it warns when it has to switch a gradient on itself."""
    return network.pixels.clone().requires_grad_()


def predicting_layer(subject: Subject):
    head = "roi" if subject.objects.regions is not None else "dense"
    passed = run_forward(subject.detector, subject.image, subject.objects, [CLASS])
    levels = subject.detector.row_levels(passed.predictions, head)[0]
    return subject.detector.level_layers(head)[int(levels[passed.rows.rows[0]])]


@pytest.mark.parametrize(("name", "peer"), [("grad_cam", "GradCAM"), ("layer_cam", "LayerCAM"), ("odam", "HiResCAM")])
def test_grad_cam_draws_the_same(subject: Subject, name: str, peer: str):
    """That library rectifies, enlarges to the input and scales to [0, 1], in place of our native resolution."""
    needs("grad-cam")
    network = subject.network()
    layer = peers.module_of(subject.detector, predicting_layer(subject), network.pixels)
    assert_same(unit(subject.ours(load_method(name))), peers.grad_cam_map(peer, network, layer))


class Louder(peers.ScalarNetwork):
    """Answers so large that constants added to squares of gradients do not count."""

    def forward(self, pixels: Tensor) -> Tensor:
        return _LOUDER * super().forward(pixels)


def test_grad_cam_plus_plus_sums_activations_and_adds_a_constant(subject: Subject):
    """Two differences: what the denominator sums, for which ours has an option, and 1e-6 that is added to it.

    Gradients of logits are so small that their squares are not large beside 1e-6; those of a logit times 10^5 are.
    The layer is a rectified one: where activations may be negative, the denominator passes through zero, and the map
    depends on how it is rounded.
    """
    needs("grad-cam")
    layer = next(layer for layer in subject.detector.feature_layers() if layer.name == "c3")
    loud = Louder(subject.detector, subject.image, subject.objects, CLASS)
    theirs = peers.grad_cam_map("GradCAMPlusPlus", loud, subject.detector.get_submodule(layer.module)).double()
    passed = run_forward(subject.detector, subject.image, subject.objects, [CLASS], [layer])
    features = passed.features[layer.name]
    (gradient,) = torch.autograd.grad(_LOUDER * passed.scalars([CLASS]).sum(), features)
    boxes = torch.ones(1, *features.shape[2:])
    made = {}
    for summed in ("activations", "products"):
        found = GradCAMPlusPlus(summed=summed).layer_map(features.detach().double(), gradient.double(), boxes)
        made[summed] = unit(F.interpolate(found.clamp(min=0)[None], theirs.shape, mode="bilinear")[0, 0])
    assert_same(made["activations"], theirs)
    assert float((made["products"] - theirs).abs().max()) > TOLERANCE


def test_captum_has_the_same_gradients(subject: Subject):
    """Captum keeps the three colours apart; zero is black to it, unless it is given a network whose zero is grey."""
    needs("captum")
    from captum.attr import InputXGradient, Saliency

    network = subject.network()
    assert_same(subject.ours(Gradient()), Saliency(network).attribute(leaf(network))[0].amax(0))
    moved = subject.network(subject.mean)
    assert_same(subject.ours(GradientTimesInput()), InputXGradient(moved).attribute(leaf(moved))[0].sum(0).detach())


def test_captum_integrates_to_the_same(subject: Subject):
    """With its midpoint rule (`method="riemann_middle"`), which is ours."""
    needs("captum")
    method = IntegratedGradients(steps=6, batch_size=4)
    assert_same(subject.ours(method), peers.integrated_gradients_map(subject.network(subject.mean), method))


def test_captum_guides_modules_but_not_functions(subject: Subject):
    """Captum rectifies the gradient at `nn.ReLU` alone; a two-stage detector calls `F.relu` in its box head."""
    needs("captum")
    from captum.attr import GuidedBackprop as Captum

    network = subject.network()
    with pytest.warns(UserWarning, match="backward hooks"):
        theirs = Captum(network).attribute(leaf(network))[0].abs().amax(0)
    ours = subject.ours(GuidedBackprop())
    if subject.objects.regions is None:
        assert_same(ours, theirs)
    else:
        assert float((ours / ours.max() - theirs / theirs.max()).abs().max()) > TOLERANCE


def test_captum_covers_the_same_squares(subject: Subject):
    """Without overlap everywhere; with overlap away from the border, across which only our squares reach."""
    needs("captum")
    from captum.attr import Occlusion as Captum

    moved = subject.network(subject.mean)
    for stride, margin in ((1.0, 0), (0.5, 32)):
        method = Occlusion(side=0.25, stride=stride)
        theirs = Captum(moved).attribute(
            moved.pixels,
            sliding_window_shapes=(3, 32, 32),
            strides=(3, round(32 * stride), round(32 * stride)),
            perturbations_per_eval=16,
        )[0, 0]
        inside = slice(margin, 128 - margin)
        assert_same(subject.ours(method)[inside, inside], theirs[inside, inside])


@pytest.mark.parametrize("batch_size", [8])
def test_xaitk_has_the_same_d_rise(subject: Subject, batch_size: int):
    """Same masks and raw predictions; xaitk divides by the maximum, and has the last pixel of a box inside of it."""
    needs("xaitk-saliency")
    method = DRISE(masks=24, candidates=60, batch_size=batch_size)
    ours = method.explain(subject.detector, subject.image, subject.objects, [CLASS], seed=3).values[0, 0]
    (theirs,) = peers.d_rise_maps(subject.detector, subject.image, subject.objects, method, seed=3)
    assert_same(ours / ours.max(), theirs)


def test_xaitk_has_the_same_d_rise_through_its_interface_but_for_the_weight_of_the_best_score(subject: Subject):
    needs("xaitk-saliency")
    method, detector = DRISE(masks=8, candidates=20, batch_size=4), subject.detector
    (theirs,) = peers.d_rise_pipeline_maps(detector, subject.image, subject.objects, method, seed=3)
    pixels, frame, size = canvas_of(detector, subject.image)
    box, wanted = method.targets(detector, pixels, size, frame, subject.objects)
    masks, grey = torch.cat(list(method.batches(size, 3))), detector.pixel_mean[:, None, None]
    with torch.no_grad():
        raw = raw_outputs(detector(torch.lerp(grey, pixels, masks[:, None]), [size] * len(masks)))
    boxes, classes, _ = raw.highest(method.candidates)
    alike = pairwise_iou(box.expand(len(masks), -1, -1), boxes)[:, 0] * F.cosine_similarity(
        classes, wanted[:1, None], -1
    )
    ours = torch.einsum("m,mhw->hw", alike.amax(1), masks) / masks.sum(0).clamp(min=1e-6)
    assert_same(ours / ours.max(), theirs.float())


def test_a_scalar_network_has_one_object(subject: Subject):
    two = subject.objects.select(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="got 2 objects"):
        peers.ScalarNetwork(subject.detector, subject.image, two, CLASS)


def test_the_module_of_a_layer_returns_that_layer():
    detector = tiny_detector("retinanet")
    pixels, found = torch.rand(1, 3, 64, 64), []
    layer = detector.level_layers()[0]
    module = peers.module_of(detector, layer, pixels)
    handle = module.register_forward_hook(lambda module, arguments, output: found.append(output))
    detector(pixels)
    handle.remove()
    assert found[0].shape[1:] == (layer.channels, 64 // layer.stride, 64 // layer.stride)
