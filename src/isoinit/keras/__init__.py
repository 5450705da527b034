"""Initial parameters of Keras 3 models: `plan` chooses them, `init` also assigns them.

A Keras model keeps its weights in variables of its own, each with a path such as "net/dense/kernel".
The entries of a plan have these paths as names. The random numbers of a variable depend on the seed
and its path, so one plan and seed give the same weights on every backend. Models are read under the
JAX and the PyTorch backend, and not under TensorFlow: `keras.config.backend()` tells which one runs.

    import isoinit.keras
    plan = isoinit.keras.init(model, x, seed=0)

Only trainable variables are planned and assigned. Moving statistics, seeds, frozen layers and the
optimizer's variables stay as they are.
"""

from isoinit.keras.verbs import apply, init, plan

__all__ = ["apply", "init", "plan"]
