"""Learning rates and losses of `DetectorTraining`."""

import pytest
import torch
from torch import nn

from detinv.errors import ConfigError
from detinv.training.module import DetectorTraining


class TwoLosses(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images, targets):
        return {"a": 3 * self.weight, "b": self.weight**2}


def learning_rates(steps, learning_rate):
    module = DetectorTraining(TwoLosses(), steps, learning_rate)
    made = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates, optimizer.param_groups[0]["lr"]


def test_rates_warm_up_over_a_twentieth_then_fall_to_zero():
    rates, last = learning_rates(100, 0.5)
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[5] == pytest.approx(0.5)
    assert rates[52] == pytest.approx(0.25, abs=0.01)
    assert all(before >= after for before, after in zip(rates[5:], rates[6:], strict=False))
    assert last == pytest.approx(0.0, abs=1e-6)


def test_loss_is_the_sum_of_the_model_s_own(monkeypatch):
    module = DetectorTraining(TwoLosses(), steps=10)
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value.item()}))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.update({k: v.item() for k, v in values.items()}))
    loss = module.training_step(([torch.zeros(3, 4, 4)], [{}]), 0)
    loss.backward()
    assert loss.item() == 10.0
    assert float(module.model.weight.grad) == 7.0
    assert logged == {"loss": 10.0, "loss/a": 6.0, "loss/b": 4.0}


def test_a_loss_that_is_not_finite_ends_the_training():
    module = DetectorTraining(TwoLosses(), steps=10)
    module.model.weight.data.fill_(1e30)
    with pytest.raises(ConfigError, match="diverged: b is not finite at step 0; choose a smaller learning_rate"):
        module.training_step(([torch.zeros(3, 4, 4)], [{}]), 0)


def test_random_numbers_of_the_device_go_on_where_they_were(monkeypatch):
    module, checkpoint = DetectorTraining(TwoLosses(), steps=10), {}
    numbers = {"now": torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr("torch.cuda.get_rng_state", lambda: numbers["now"])
    monkeypatch.setattr("torch.cuda.set_rng_state", lambda state: numbers.update(now=state))
    on_gpu = property(lambda self: torch.device("cuda", 0))
    with monkeypatch.context() as patched:
        patched.setattr(DetectorTraining, "device", on_gpu)
        module.on_save_checkpoint(checkpoint)
    numbers["now"] = torch.tensor([1], dtype=torch.uint8)
    resumed = DetectorTraining(TwoLosses(), steps=10)
    # Lightning loads a checkpoint before it moves the module.
    resumed.on_load_checkpoint(checkpoint)
    resumed.on_train_start()
    assert numbers["now"].item() == 1
    monkeypatch.setattr(DetectorTraining, "device", on_gpu)
    resumed.on_train_start()
    assert numbers["now"].item() == 7
