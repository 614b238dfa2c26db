"""Products of the maps of other methods."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from detinv.attribution.methods.base import ActivationMethod, Factor
from detinv.errors import ConfigError


@dataclass(frozen=True)
class Product(ActivationMethod):
    """The product of the maps of several methods, each raised to a power: what all of them find.

    A map of an early layer knows where the evidence lies, but also sees what other objects have in common with this
    one. The level that predicts knows which evidence decides, but has carried it to the cell that predicts. Their
    product keeps what both show.

    Args:
        methods: whose maps are multiplied.
        powers: one for each.

    Source: ours; measured on planted truth. NormGrad multiplies the maps of several layers as well (Rebuffi et al.
    2020, section 3.4).
    """

    methods: Sequence[ActivationMethod]
    powers: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.methods) != len(self.powers) or not self.methods:
            raise ConfigError(f"a product of {len(self.methods)} methods needs as many powers, got {len(self.powers)}")
        if any(method.signed for method in self.methods):
            raise ConfigError("a product of maps has no sign: set signed=false for each of its methods")

    def factors(self) -> list[Factor]:
        return [
            replace(factor, power=power * factor.power)
            for method, power in zip(self.methods, self.powers, strict=True)
            for factor in method.factors()
        ]

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        raise TypeError("a product has no map of its own at a layer; see factors()")
