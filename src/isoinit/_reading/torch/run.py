"""Runs a model once under the recorder: on fake tensors, or on the example where it must be real."""

from __future__ import annotations

import inspect
import math
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import Graph
from isoinit._reading.torch.charts import mark_charts, read_charts
from isoinit._reading.torch.fakes import as_fake, quiet_fakes
from isoinit._reading.torch.isolate import Keeper, untouched
from isoinit._reading.torch.moments import moments_of
from isoinit._reading.torch.names import named_modules, named_parameters, unwrap
from isoinit._reading.torch.record import Observer, Recorder
from isoinit._reading.torch.trees import map_tensors, tensors_in
from isoinit._system.collecting import uncollected
from isoinit._system.private import FakeTensorMode, unset_fake_temporarily
from isoinit.errors import ArgumentError, TraceError


def as_arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a batch is passed to `forward`: `model(batch)`, `model(*batch)` or `model(**batch)`.

    A plain tuple holds the arguments. One with a class of its own (a named tuple, a packed sequence)
    is one argument, as is any other object that holds tensors. The rows of a nested tensor are cut
    to the shortest: values have one shape here, and padding would be no part of the example.

    Raises:
        ArgumentError: if it is none of these, or a list, which may be meant as either; or if a nested
            tensor in it has a row without elements.
    """
    kind = type(batch)
    if kind is tuple:
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = batch, {}
    elif issubclass(kind, Mapping):
        arguments = (), {str(key): value for key, value in batch.items()}
    elif issubclass(kind, (list, set)) or not any(True for _ in tensors_in(batch)):
        raise ArgumentError(
            f"batch is a {kind.__name__}; expected a tensor or another object for model(batch), a "
            "tuple for model(*batch), or a mapping for model(**batch). Pass tuple(batch) if it "
            "holds the arguments, or (batch,) if it is a single argument"
        )
    else:
        arguments = (batch,), {}
    if any(tensor.is_nested for tensor in tensors_in(arguments)):
        arguments = map_tensors(_of_one_length, arguments, opened=Mapping)
    if any(tensor.is_inference() for tensor in tensors_in(arguments)):
        with torch.inference_mode(False):  # what was made inside cannot be followed back
            arguments = map_tensors(torch.Tensor.clone, arguments, opened=Mapping)
    return arguments


def _of_one_length(tensor: torch.Tensor) -> torch.Tensor:
    """Return a nested tensor as a dense one of its rows, cut to what all of them have."""
    if not tensor.is_nested:
        return tensor
    rows = tensor.detach().unbind()
    shape = [min(sizes) for sizes in zip(*(row.shape for row in rows), strict=True)]
    if not math.prod(shape):
        raise ArgumentError("batch holds a nested tensor with an empty row. Remove such rows")
    return torch.stack([row[tuple(map(slice, shape))] for row in rows])


def trace(model: nn.Module, batch: Any, *, real: bool = True) -> Graph:
    """Read a model by running its forward once; the model is left as it was.

    Args:
        model: any model, on any device, meta too.
        batch: an example, as `as_arguments` takes it. Its values matter only to models that branch
            on them.
        real: whether the example itself may be run where fake tensors do not do.

    Raises:
        TraceError: if the forward fails, or returns nothing; it quotes the model's own error and the
            line it came from.
        ArgumentError: if there is no folder for temporary files, which torch needs.
    """
    args, kwargs = as_arguments(batch)
    _load_compiler()
    try:
        return _seen_whole(lambda below: _run_fake(model, args, kwargs, below))
    except Exception as fake_failure:  # any failure of the fake run: the real one decides
        if not real or any(map(_is_elsewhere, (*model.parameters(), *model.buffers()))):
            raise explained(fake_failure, "on fake tensors", model, batch) from fake_failure
    try:
        return _seen_whole(lambda below: _run_real(model, args, kwargs, below))
    except Exception as failure:
        raise explained(failure, "on the example", model, batch) from failure


def _load_compiler() -> None:
    """Load what `torch.compiler.set_stance` in `recording` needs; loading asks for temporary files.

    A second attempt fails by another error, which says nothing of the reason.
    """
    try:
        import_module("torch._dynamo")
    except FileNotFoundError as error:
        raise ArgumentError(
            f"torch cannot load its compiler: {error.strerror}. Set the environment variable TMPDIR "
            "(Windows: TEMP) to a folder that can be written to, and start again; nothing was changed"
        ) from error


def _seen_whole(run: Callable[[bool], Graph]) -> Graph:
    """Run a model, and once more one level down if something was done that Python did not show."""
    graph = run(False)
    return run(True) if graph.missed else graph


def _run_real(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], below: bool
) -> Graph:
    borrowed = recording(model, batch=(args, kwargs))
    with borrowed as (inner, recorder), torch.no_grad():
        return _graph(recorder, recorder.run(inner, args, kwargs, below=below), "real")


def _is_elsewhere(tensor: torch.Tensor) -> bool:
    """Whether a tensor has no values here, or only some: then the example cannot be computed."""
    return tensor.is_meta or hasattr(tensor, "device_mesh")


def _graph(recorder: Recorder, result: Any, how: str) -> Graph:
    if result is None:
        raise TraceError(
            "the forward pass returned None; expected a tensor, or a container of tensors"
        )
    return recorder.graph(result, how)


Lender = Callable[[torch.Tensor], torch.Tensor | None]


@contextmanager
def recording(
    model: nn.Module,
    *,
    observe: Observer | None = None,
    lend: Lender | None = None,
    batch: Any = None,
) -> Iterator[tuple[nn.Module, Recorder]]:
    """Borrow a model to run it under a recorder; everything is put back at the end.

    Args:
        model: the model.
        observe: called with each operation and its tensors.
        lend: what to run with in place of each of the model's tensors. By default parameters stay
            and every other tensor is a copy, so that running statistics survive.
        batch: what the model will be run on: its tensors are put back as they were, too.

    Yields:
        The model inside its wrappers, and the recorder to run it with.
    """
    parameters, aliases = named_parameters(model)
    by_id = {id(parameter): name for name, parameter in parameters.items()}
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    kept: list[Keeper] = []
    recorder = Recorder(shapes, aliases, observe, lambda tensor: kept[0].save(tensor))
    for name, parameter in parameters.items():
        recorder.mark_parameter(parameter, name)  # a script keeps its own, whatever is lent
    charts, refused = read_charts(model)
    recorder.stated = {
        "refused": refused,
        "complex": frozenset(name for name, p in parameters.items() if p.is_complex()),
    }

    def replace(tensor: torch.Tensor) -> torch.Tensor | None:
        if lend is not None:
            other = lend(tensor)
        else:
            other = None if isinstance(tensor, nn.Parameter) else tensor.detach().clone()
        if id(tensor) in by_id:
            recorder.mark_parameter(tensor if other is None else other, by_id[id(tensor)])
        elif other is not None and not isinstance(tensor, nn.Parameter):
            recorder.mark_constant(other, tensor)
        return other

    with untouched(model, replace) as keeper, torch.compiler.set_stance("force_eager"):
        kept.append(keeper)
        for tensor in tensors_in(batch):
            keeper.keep(tensor)
        for buffer in _buffers_of_scripts(model):
            keeper.keep(buffer)
            keeper.save(buffer)
        if lend is not None:
            _drop_sharding_hooks(model)
        elif any(hasattr(parameter, "device_mesh") for parameter in parameters.values()):
            _mark_gathered(model, recorder)
        mark_charts(charts, recorder)
        try:
            yield unwrap(model), recorder
        finally:  # it holds the model's tensors, in circles that are freed late
            vars(recorder).clear()


def _buffers_of_scripts(model: nn.Module) -> Iterator[torch.Tensor]:
    """The running statistics and other buffers of scripts, for which no copy can be lent."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield from module.buffers(recurse=False)


def _drop_sharding_hooks(model: nn.Module) -> None:
    """Fake parameters are whole already: nothing is to be gathered before a layer runs."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in list(hooks.items()):
                if getattr(hook, "__module__", "").startswith("torch.distributed."):
                    del hooks[key]


def _mark_gathered(model: nn.Module, recorder: Recorder) -> None:
    """Sharded parameters meet the forward as whole ones, which are made just before a layer runs."""
    prefixes = {id(module): prefix for prefix, module in named_modules(model)}

    def mark(module: nn.Module, _args: Any) -> None:
        for name, parameter in module._parameters.items():
            if parameter is not None:
                recorder.mark_parameter(parameter, prefixes[id(module)] + name)

    for module in model.modules():
        module.register_forward_pre_hook(mark)


@uncollected()
def _run_fake(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], below: bool
) -> Graph:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    device = next((t.device for t in tensors_in((args, kwargs))), torch.device("cpu"))
    fake = as_fake(mode, device)
    fake_args, fake_kwargs = map_tensors(fake, (args, kwargs), opened=Mapping)
    with recording(model, lend=fake) as (inner, recorder), torch.no_grad(), mode, quiet_fakes():
        given = zip(tensors_in((fake_args, fake_kwargs)), tensors_in((args, kwargs)), strict=True)
        for shadow, tensor in given:
            with unset_fake_temporarily():
                moments = moments_of(tensor)
            recorder.mark_given(shadow, moments)
        result = recorder.run(inner, fake_args, fake_kwargs, below=below)
        return _graph(recorder, result, "fake")


def explained(failure: Exception, where: str, model: nn.Module, batch: Any) -> TraceError:
    """The model's own error, with the line of the user's code that it came from.

    Of arguments that the forward does not take, which it takes.
    """
    if isinstance(failure, TypeError) and (refusal := _refusal(model, batch)):
        return TraceError(refusal)
    frames = traceback.extract_tb(failure.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(OURS)]
    line = f' at {theirs[-1].filename}:{theirs[-1].lineno} "{theirs[-1].line}"' if theirs else ""
    own = (
        str(failure) if isinstance(failure, TraceError) else f"{type(failure).__name__}: {failure}"
    )
    return TraceError(
        f"the model's forward failed {where}{line}: {own}{_mismatch(model, batch)}. Pass a "
        "batch that model(batch), model(*batch) or model(**batch) accepts; nothing was changed"
    )


def _refusal(model: nn.Module, batch: Any) -> str:
    """Return what is wrong with a batch whose arguments the forward does not take; "" if it does."""
    args, kwargs = as_arguments(batch)
    try:
        signature = inspect.signature(unwrap(model).forward)
        signature.bind(*args, **kwargs)
    except ValueError:  # of a builtin
        return ""
    except TypeError as error:
        fault = str(error)
    else:
        return ""
    takes = [
        str(p.replace(annotation=p.empty, default=p.empty)) + "=..." * (p.default is not p.empty)
        for p in signature.parameters.values()
    ]
    whole = type(batch) is not tuple and issubclass(type(batch), tuple)
    return (
        f"the model's forward does not accept this batch ({fault}): it takes "
        f"({', '.join(takes)}), but was given "
        f"{_told(args, kwargs)}{_whole(batch) if whole else ''}. Remove targets from the batch: a "
        "plan needs none. For check and compare, pass the batch as (inputs, targets) with a loss "
        "of both, such as loss=torch.nn.CrossEntropyLoss(), or use targets inside a loss of the "
        "output; nothing was changed"
    )


def _told(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return how many arguments are passed by place, and the names of the others."""
    places = f"{len(args)} by position" if args or not kwargs else ""
    return " and ".join(filter(None, (places, ", ".join(kwargs))))


def _whole(batch: Any) -> str:
    return f" (a {type(batch).__name__} is one argument; tuple(batch) passes its parts)"


# Where torch and isoinit are installed: a frame from elsewhere is the user's.
OURS = tuple(
    str(path) + os.sep for path in (Path(str(torch.__file__)).parent, Path(__file__).parents[2])
)


def _mismatch(model: nn.Module, batch: Any) -> str:
    """What may be wrong with a batch: another type or device than the parameters'."""
    parameters = [p for p in model.parameters() if p.is_floating_point() or p.is_complex()]
    tensors = tensors_in(as_arguments(batch))
    given = [t for t in tensors if t.is_floating_point() or t.is_complex()]
    notes = []
    types, own = {t.dtype for t in given}, {p.dtype for p in parameters}
    if types - own:
        notes.append(f"the batch holds {_list(types - own)}, the parameters are {_list(own)}")
    places, homes = {t.device for t in given}, {p.device for p in parameters}
    if places - homes and not any(device.type == "meta" for device in homes):
        notes.append(f"the batch is on {_list(places - homes)}, the parameters on {_list(homes)}")
    if len(homes) > 1 and any(device.type == "meta" for device in homes):
        notes.append(f"the parameters are on {_list(homes)}: one part of the model has no memory")
    return "".join(f"; {note}" for note in notes)


def _list(things: set[Any]) -> str:
    return " and ".join(sorted(str(thing) for thing in things))
