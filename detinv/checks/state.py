"""Claims about the detector itself: frozen, stable in size, and unchanged by being used."""

from detinv.checks.finding import Finding
from detinv.checks.trial import AdapterTrial
from detinv.detectors.hooks import count_hooks
from detinv.zoo.weights import weight_hash


def is_frozen(trial: AdapterTrial) -> Finding:
    """No parameter requires a gradient, and no module is in training mode."""
    detector = trial.detector
    trained = [name for name, value in detector.named_parameters() if value.requires_grad]
    training = [name for name, module in detector.named_modules() if module.training]
    if trained or training:
        return Finding(False, f"call freeze(): {', '.join([*trained, *training][:3])}")
    return Finding(True, f"{sum(value.numel() for value in detector.parameters()):,} parameters")


def size_settles(trial: AdapterTrial) -> Finding:
    """Applied to its own result, network_size changes nothing."""
    again = [trial.detector.network_size(size) for size in trial.sizes]
    return Finding(again == trial.sizes, ", ".join(f"{width} x {height}" for height, width in trial.sizes))


def weights_are_untouched(trial: AdapterTrial) -> Finding:
    """Not a bit of the weights has changed since the trial began."""
    after = weight_hash(trial.detector)
    return Finding(after == trial.weights, f"{trial.weights} before, {after} after")


def hooks_are_removed(trial: AdapterTrial) -> Finding:
    """There are as many hooks as when the trial began."""
    after = count_hooks(trial.detector)
    return Finding(after == trial.hooks, f"{trial.hooks} before, {after} after")
