"""What makes an initializer a function of torch's tensors and modules."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeVar

from isoinit._system.packages import needs

T = TypeVar("T")


class Called:
    """A mixin of `Initializer`. It loads no framework: it knows the room that writes by its name."""

    def __call__(self, target: T, *, generator: Any = None) -> T:
        """Fill a tensor of torch, or the weights of one layer, in place, and return it.

        In a layer it fills the weight matrices and kernels, with the fans of the layer: groups,
        transposition and packed gates count. The biases of the layer become zero, as He et al. (2015)
        and Glorot & Bengio (2010) take them for granted. An embedding is filled only by initializers
        that need no fans, such as `Normal(std=0.02)`, and its padding row stays zero. Norm layers,
        parameters of containers and layers that are not understood keep their values, so
        `model.apply(HeNormal())` fills a whole model. It does not see the activations: a plan does.

        Args:
            target: a `torch.Tensor`, read as (out, in, *kernel), or a `torch.nn.Module`. Without
                memory (meta device) it is left as it is.
            generator: a `torch.Generator`. Each parameter takes one seed from it, so two layers get
                different values. None takes torch's default generator: `torch.manual_seed` governs.

        Raises:
            ArgumentError: for anything else, or a tensor or weight that it cannot fill.

        Example:
            >>> import torch
            >>> from isoinit import HeNormal
            >>> model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.Linear(256, 10))
            >>> _ = torch.manual_seed(0)
            >>> _ = model.apply(HeNormal())
            >>> model[1].bias.tolist() == [0.0] * 10
            True
        """
        # By its name, which no import reader sees: it writes into torch's memory, and stands above.
        with needs("torch", "calling an initializer"):
            import_module("isoinit._writing.called").call(self, target, generator)
        return target
