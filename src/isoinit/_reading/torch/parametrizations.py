"""Which weights torch's own machinery computes from parameters, in a way that can be assigned.

`torch.nn.utils.parametrize` computes a weight by a `ParametrizationList`; the old
`torch.nn.utils.spectral_norm` by a hook before the forward. Weight normalization, new or old, needs
nothing here: the recorder knows its operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from isoinit._reading.torch.names import Modules, named_buffers, names_by_id
from isoinit._system.private import WeightNorm


@dataclass(frozen=True)
class Computed:
    """A weight that a module computes from parameters whenever it is used.

    Attributes:
        module: the list of parametrizations, or the layer that has an old hook.
        hook: the old hook; None for a list.
        prefix: what stands before the names of the module's own tensors.
        originals: what the module calls the parameters, and their names in the model; in the order
            in which `right_inverse` returns them.
        parameters: the parameters, by their names in the model.
        buffers: the buffers that take part, by their names in the model.
    """

    module: nn.Module
    hook: SpectralNorm | None
    prefix: str
    originals: dict[str, str]
    parameters: dict[str, nn.Parameter]
    buffers: dict[str, torch.Tensor]

    @property
    def kinds(self) -> str:
        """What computes it, in words."""
        parts = self.module.children() if self.hook is None else [self.hook]
        return ", ".join(type(part).__name__ for part in parts)


def computed_weights(modules: Modules) -> list[Computed]:
    """Return the weights of a model that `right_inverse` may assign, each once.

    The model is given as `named_modules` of it.

    Every parametrization in the list must have one. Spectral normalization by the old hook has
    none, and means the identity, as the new one does.
    """
    hooked = {id(module) for _, module in modules.hooked if _old_hooks(module)}
    if not hooked and not any(issubclass(kind, ParametrizationList) for kind in modules.kinds):
        return []  # as in most models
    computing = [
        (prefix, module)
        for prefix, module in modules
        if isinstance(module, ParametrizationList) or id(module) in hooked
    ]
    names = names_by_id(modules[0][1])
    found: dict[tuple[int, int], Computed] = {}
    for prefix, module in computing:
        if isinstance(module, ParametrizationList):
            found.setdefault((id(module), 0), _by_list(module, prefix, names))
        for hook in _old_hooks(module):
            found.setdefault((id(module), id(hook)), _by_hook(module, hook, prefix, names))
    return [computed for computed in found.values() if _is_invertible(computed)]


def _old_hooks(module: nn.Module) -> list[SpectralNorm]:
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, SpectralNorm)]


def _by_list(module: ParametrizationList, prefix: str, names: Mapping[int, str]) -> Computed:
    own = {name: p for name, p in module._parameters.items() if p is not None}
    buffers, _ = named_buffers(module)
    return Computed(
        module,
        None,
        prefix,
        {name: names[id(parameter)] for name, parameter in own.items()},
        {names[id(parameter)]: parameter for parameter in own.values()},
        {prefix + name: buffer for name, buffer in buffers.items()},
    )


def _by_hook(
    module: nn.Module, hook: SpectralNorm, prefix: str, names: Mapping[int, str]
) -> Computed:
    own = {
        key: parameter
        for key in [f"{hook.name}_orig"]
        if (parameter := module._parameters.get(key)) is not None
    }
    keys = (f"{hook.name}_u", f"{hook.name}_v")
    return Computed(
        module,
        hook,
        prefix,
        {key: names[id(parameter)] for key, parameter in own.items()},
        {names[id(parameter)]: parameter for parameter in own.values()},
        {prefix + key: b for key in keys if (b := module._buffers.get(key)) is not None},
    )


def _is_invertible(computed: Computed) -> bool:
    """Whether there is a way back, and nothing but the way back decides the parameters.

    Parameters of the parametrizations themselves (a learned gain) are planned by what the forward
    does with them.
    """
    module = computed.module
    if not isinstance(module, ParametrizationList):
        return bool(computed.parameters)
    count = 1 if module.is_tensor else module.ntensors
    return (
        all(hasattr(part, "right_inverse") for part in module.children())
        and len(computed.parameters) == count == len(list(module.parameters()))
        and all(parameter.is_floating_point() for parameter in computed.parameters.values())
        and not (len(module) == 1 and isinstance(module[0], WeightNorm))
    )
