"""Models of many kinds to develop the plan's choice on: what is seen here may guide it."""

from evidence.contest.development import (
    convolutional,
    functions,
    generative,
    graphs,
    patches,
    perceptrons,
    sequences,
)
from evidence.contest.task import Task

TASKS: dict[str, Task] = {
    **perceptrons.TASKS,
    **convolutional.TASKS,
    **patches.TASKS,
    **sequences.TASKS,
    **graphs.TASKS,
    **functions.TASKS,
    **generative.TASKS,
}
