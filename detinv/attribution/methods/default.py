"""The default: what planted truth shows to be right, for classes and for boxes."""

from dataclasses import dataclass

from detinv.attribution.core.questions import Question
from detinv.attribution.methods.base import AbstractMethod


@dataclass(frozen=True)
class ByQuestion(AbstractMethod):
    """One method for what an object is, another for where it is.

    A class is written in signs: evidence counts where it raises the score. A side of a box is found from whatever the
    network sees there, and moves with it in both directions.

    Args:
        of_class: answers "class", "contrast", "score" and their like.
        of_box: answers sides, deltas, IoU and masks.
    """

    of_class: AbstractMethod
    of_box: AbstractMethod

    def for_question(self, question: Question) -> AbstractMethod:
        return (self.of_class if question.of_class else self.of_box).for_question(question)
