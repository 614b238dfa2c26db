"""Formulas, against plain loops over channels and places."""

import pytest
import torch

from detinv.attribution.load import as_method, load_method, method_names
from detinv.attribution.methods.features.grad_cam import GradCAM
from detinv.attribution.methods.features.grad_cam_plus_plus import GradCAMPlusPlus
from detinv.attribution.methods.features.hires_cam import HiResCAM
from detinv.attribution.methods.features.layer_cam import LayerCAM
from detinv.attribution.methods.features.norm_grad import NormGrad
from detinv.attribution.methods.features.ss_grad_cam_plus_plus import SSGradCAMPlusPlus
from detinv.errors import ConfigError

CHANNELS, ROWS, COLUMNS = 3, 4, 5


def relu(value: float) -> float:
    return max(value, 0.0)


def hires(a, g, m, c, u):
    return g[c][u] * a[c][u]


def grad_cam(a, g, m, c, u):
    return sum(g[c].values()) / len(g[c]) * a[c][u]


def layer_cam(a, g, m, c, u):
    return relu(g[c][u]) * a[c][u]


def plus_plus(a, g, m, c, u):
    below = sum(a[c][v] * g[c][v] ** 3 for v in g[c])
    return sum(relu(g[c][v]) * g[c][v] ** 2 / (2 * g[c][v] ** 2 + below) for v in g[c] if g[c][v]) * a[c][u]


def summed_activations(a, g, m, c, u):
    total = sum(a[c].values())
    shares = {v: g[c][v] ** 2 / (2 * g[c][v] ** 2 + total * g[c][v] ** 3) for v in g[c] if g[c][v]}
    return sum(relu(g[c][v]) * share for v, share in shares.items()) * a[c][u]


def spatially_sensitive(a, g, m, c, u, in_map=True):
    below = sum(a[c][v] * m[v] * g[c][v] ** 3 for v in g[c])
    most = max(abs(value) for value in g[c].values())
    weight = 0.0
    for v in g[c]:
        if denominator := 2 * g[c][v] ** 2 * m[v] + below:
            space = 1 if in_map else abs(g[c][v]) / most
            weight += relu(g[c][v] * space) * g[c][v] ** 2 / denominator
    return weight * a[c][u] * (abs(g[c][u]) / most if in_map else 1)


def sensitive_weights(a, g, m, c, u):
    return spatially_sensitive(a, g, m, c, u, in_map=False)


@pytest.mark.parametrize(
    ("method", "formula"),
    [
        (HiResCAM(), hires),
        (GradCAM(), grad_cam),
        (LayerCAM(), layer_cam),
        (GradCAMPlusPlus(), plus_plus),
        (GradCAMPlusPlus(summed="activations"), summed_activations),
        (SSGradCAMPlusPlus(), spatially_sensitive),
        (SSGradCAMPlusPlus(space="weights"), sensitive_weights),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_map_is_the_sum_over_channels_of_its_formula(method, formula):
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(1, CHANNELS, ROWS, COLUMNS, generator=generator).double()
    gradients = torch.randn(2, CHANNELS, ROWS, COLUMNS, generator=generator).double()
    gradients[:, 1, :2] = 0
    boxes = torch.zeros(2, ROWS, COLUMNS).double()
    boxes[:, 1:3, 1:4] = 1
    found = method.layer_map(features, gradients, boxes)
    places = [(y, x) for y in range(ROWS) for x in range(COLUMNS)]
    for number in range(2):
        a, g = (
            [{u: float(tensor[c][u]) for u in places} for c in range(CHANNELS)]
            for tensor in (features[0], gradients[number])
        )
        m = {u: float(boxes[number][u]) for u in places}
        expected = [
            [sum(formula(a, g, m, c, (y, x)) for c in range(CHANNELS)) for x in range(COLUMNS)] for y in range(ROWS)
        ]
        torch.testing.assert_close(found[number], torch.tensor(expected, dtype=torch.float64))


def test_norm_grad_is_the_norm_of_the_virtual_weights_gradient():
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(1, CHANNELS, ROWS, COLUMNS, generator=generator)
    gradients = torch.randn(2, CHANNELS, ROWS, COLUMNS, generator=generator)
    boxes = torch.ones(2, ROWS, COLUMNS)
    outer = torch.einsum("nchw,ndhw->nhwcd", gradients, features.expand(2, -1, -1, -1))
    torch.testing.assert_close(NormGrad().layer_map(features, gradients, boxes), outer.flatten(3).norm(dim=-1))
    scaled = NormGrad(virtual="scaling").layer_map(features, gradients, boxes)
    torch.testing.assert_close(scaled, (features * gradients).square().sum(1).sqrt())
    moved = NormGrad(centred=True).layer_map(features + 5, gradients, boxes)
    torch.testing.assert_close(moved, NormGrad(centred=True).layer_map(features, gradients, boxes))


def test_every_method_is_found_by_its_name():
    assert {"default", "odam", "grad_cam", "d_rise"} <= {*method_names()}
    assert as_method("odam", [8, "p3"]).layers == (8, "p3")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: load_method("odem"), "did you mean 'odam'"),
        (lambda: as_method("d_rise", [8]), "changes the image, and has no layers"),
    ],
)
def test_mistakes_get_one_line(build, said: str):
    with pytest.raises(ConfigError, match=said):
        build()
