"""What Lightning iterates over: step numbers, because the batch of layouts of an inversion never changes."""

from torch.utils.data import DataLoader, Dataset


class _Steps(Dataset):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> int:
        return index


def step_loader(steps: int) -> DataLoader:
    """Make a loader of the numbers 0 ... steps - 1, one for each step."""
    return DataLoader(_Steps(steps), batch_size=None)
