"""The end of a run, in which objects come to lie where they were asked for, and what nobody asked for goes."""

from dataclasses import dataclass

from detinv.inputs.ranges import check_range
from detinv.inversion.objective.objective import Objective
from detinv.inversion.optim.schedules import Schedule


@dataclass(frozen=True)
class Settling:
    """Other values for the last steps, in which an image has its evidence already.

    Views and reshaped gradients decide what an image shows, but keep its boxes from settling. So the last steps leave
    gradients as they are, become smaller, ask for boxes more often, and weigh what stands for no object more.

    Args:
        since: share of the steps from which on a run settles.
        final: factor of the last step's size, besides the schedule's; each step is smaller in the same ratio.
        shapes_every, background_rows: the objective's, from there on; null leaves them as they are.

    Raises:
        ConfigError: for a number out of range.
    """

    since: float = 0.8
    final: float = 1.0
    shapes_every: int | None = None
    background_rows: int | None = None

    def __post_init__(self) -> None:
        check_range(self, "since", most=1)
        check_range(self, "final", above=True)
        check_range(self, "shapes_every", least=2)
        check_range(self, "background_rows", least=1)

    def begin(self, steps: int) -> int:
        """Return the number of the first of these steps (0, 1, ...) in a run of `steps`."""
        return round(self.since * steps)

    def schedule(self, schedule: Schedule) -> Schedule:
        """Return the schedule of the learning rate with smaller last steps."""

        def smaller(step: int, steps: int) -> float:
            begin = self.begin(steps)
            progress = min(max(step + 1 - begin, 0) / max(steps - begin, 1), 1)
            return schedule(step, steps) * self.final**progress

        return smaller

    def objective(self, objective: Objective) -> Objective:
        """Copy `objective` with the values of these steps."""
        return objective.settled(self.shapes_every, self.background_rows)
