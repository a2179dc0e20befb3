"""Evaluating versions by prompts: what they answered, what changed, what the gates say."""

from tslc.domain.evaluation.gates import EvalGates, failures
from tslc.domain.evaluation.results import Answer, Asked, Evaluation, Figures, figures
from tslc.domain.evaluation.select import Prompts, dataset

__all__ = [
    "Answer",
    "Asked",
    "EvalGates",
    "Evaluation",
    "Figures",
    "Prompts",
    "dataset",
    "failures",
    "figures",
]
