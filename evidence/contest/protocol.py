"""How the contest is run and judged: fixed before the first run, and the same for both sets.

1. Each contestant starts the same model. AdamW with torch's defaults, no schedule, no clipping.
2. A contestant's learning rate is the best of `RATES` on a model, by the training loss at the end of a
   run on a seed that is not used again. Who is `FAR` times behind the best contestant by then is out
   of the race: that loss is its result.
3. All others train on each of `SEEDS`, for `STEPS` steps.
4. The training loss is the mean of the last tenth of the steps; the held-out loss is that of one batch
   which is never trained on, at the end, in eval mode. Both are judged by their logarithm: on the loss
   itself one bad seed swells the variance, and everything is "within noise".
5. A rival is ahead of the plan where Welch's t of the log losses says so at `LEVEL`, one-sided, by
   Holm's correction over all rivals of a model. Where none is, the plan is first or within noise.
6. Beside that: the mean rank over models, and the share of models on which the loss is within `NEAR`
   times the best, both by the mean of the log losses.

The development set is what rules are tried on. The fresh set is of other tasks, models and sizes; it
was written before and is run when the rules stand. What comes out is published as it is. Since rules
were mended by what it showed, there is a second fresh set, written before they were and run when they
stand again.
"""

from __future__ import annotations

RATES = (5e-4, 2e-3, 8e-3)
TUNING_SEED = 1000
SEEDS = tuple(range(8))
STEPS = 200
TAIL = STEPS // 10
FAR = 3.0
LEVEL = 0.05
NEAR = 1.5
