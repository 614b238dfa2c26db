"""The groups of claims about detectors that were trained on photographs, by name."""

from detinv.verification.groups import ClaimGroup
from detinv.verification.real import context, disentangle, objects, position, scale, single_objects, texture, transfer

REAL_GROUPS = {
    "objects": ClaimGroup(single_objects.measure_objects, objects.decide),
    "context": ClaimGroup(single_objects.measure_context, context.decide),
    "position": ClaimGroup(single_objects.measure_position, position.decide),
    "scale": ClaimGroup(scale.measure, scale.decide),
    "disentangle": ClaimGroup(disentangle.measure, disentangle.decide),
    "transfer": ClaimGroup(transfer.measure_samples, transfer.decide_samples),
    "photographs": ClaimGroup(transfer.measure_photographs, transfer.decide_photographs, photographs=True),
    "texture": ClaimGroup(texture.measure, texture.decide, photographs=True),
}
