"""All subjects of the verification, by name."""

from collections.abc import Callable

from detinv.verification import context, cues, disentangle, single_object, texture, transfer
from detinv.verification.claim import Claim
from detinv.verification.means import Means

SUBJECTS: dict[str, Callable[[Means], list[Claim]]] = {
    "transfer": transfer.check,
    "disentangle": disentangle.check,
    "texture": texture.check,
    "context": context.check,
    "cues": cues.check,
    "single_object": single_object.check,
}
