"""Evaluation sets answered by a model and scored, once or every few steps of a run."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from jaxtyping import PyTree

from presence_t5x.evaluation.predictor import Answers, Predictor, ReportDone
from presence_t5x.evaluation.scores import SetResult

if TYPE_CHECKING:  # it imports TensorFlow
    from presence_t5x.data.finetuning.evaluation_sets import EvaluationSet


class Evaluator:
    """Sets that are read and tokenised once; holds no parameters and changes none."""

    def __init__(self, sets: "Sequence[EvaluationSet]", predictor: Predictor):
        """Tokenises the inputs of all sets."""
        self.sets = sets
        self._predictor = predictor
        self._inputs = [predictor.read([one.inputs for one in found.examples]) for found in sets]

    @property
    def num_cut(self) -> dict[str, int]:
        """Of every set that has any, how many examples have inputs that are cut to fit."""
        cuts = {found.key: inputs.num_cut for found, inputs in zip(self.sets, self._inputs)}
        return {key: num for key, num in cuts.items() if num}

    def evaluate(
        self,
        params: PyTree,
        *,
        known: "Callable[[EvaluationSet], Answers | None] | None" = None,
        report: ReportDone | None = None,
        by_example: bool = False,
    ) -> Iterator[SetResult]:
        """Yields the sets with answers and scores, each as soon as it is done.

        Args:
          params: of the predictor's model.
          known: returns the answers to a set if there are any already.
          report: is told how many more examples are done.
          by_example: score single examples, too.
        """
        for found, inputs in zip(self.sets, self._inputs):
            answers = None if known is None else known(found)
            if answers is None:
                answers = self._predictor.answer(params, inputs, report)
            elif report is not None:
                report(len(found.examples))
            judgement = found.judge(answers.texts, by_example=by_example)
            yield SetResult(found, answers, judgement, inputs.num_cut)
