"""Source of a network: a built-in name, ``path/to/file.py:factory``, ``package.module:factory``, an ONNX file
(``path/to/file.onnx``) or an object.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import torch
from torch import nn

from ..errors import DeepReduceError, ModelError, SettingError, nearest, one_line
from .network import Network
from .onnx.importer import read_onnx
from .zoo.registry import ZOO, build_zoo

ModelLike = str | nn.Module | Callable[..., nn.Module]


@dataclass(frozen=True)
class ModelSource:
    """A recipe for one network, the same every time it is built with one seed.

    ``model`` is a name, a reference to a factory, a factory, or a module (whose present weights are then the initial
    ones). ``width`` scales the channels of built-in networks; ``stages`` overrides the derived stages.
    """

    model: ModelLike
    width: float = 1.0
    stages: Mapping[str, str] | None = field(default=None)

    @property
    def name(self) -> str:
        """Name in messages."""
        if isinstance(self.model, str):
            return self.model
        return type(self.model).__name__ if isinstance(self.model, nn.Module) else self.model.__name__

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX file, which has its weights, and often its size, in it."""
        return isinstance(self.model, str) and self.model.lower().endswith(".onnx")

    def input_shape(self, wanted: tuple[int, int, int] | None = None) -> tuple[int, int, int] | None:
        """Return the (c, h, w) that the source itself asks for, None if it leaves that to the data.

        ``wanted`` fills in what an ONNX file leaves open. Raises `ModelError` where the file says otherwise.
        """
        return read_onnx(self.model, wanted).input_shape if self.is_onnx and isinstance(self.model, str) else None

    def notices(self, wanted: tuple[int, int, int] | None = None) -> tuple[str, ...]:
        """Return what was left out in reading it, in sentences."""
        return read_onnx(self.model, wanted).notices if self.is_onnx and isinstance(self.model, str) else ()

    def build(
        self, input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int | None = None, seed: int = 0
    ) -> Network:
        """Return the unreduced network with weights initialized from ``seed``.

        ``num_classes`` None means the source's own number (100 for built-in networks). Raises `ModelError` if the
        source cannot be found, raises, is not a module, or has another number of classes.
        """
        if not 0 <= seed < 2**31:
            raise SettingError(f"seed {seed} is not in [0, 2147483647]")
        # Imported before seeding: what a file draws when it is imported must not shift the weights' random numbers.
        factory = self.model
        if isinstance(self.model, str) and ":" in self.model and not self.is_onnx:
            factory = load_factory(self.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self._module(factory, input_shape, num_classes)
        rebuild = None
        if isinstance(self.model, str) and self.model in ZOO:
            build = partial(build_zoo, self.model, input_shape=input_shape, num_classes=_classes(num_classes))
            rebuild = _Scaled(build, self.width)
        network = Network.of(module, input_shape, self.stages, rebuild, verify=rebuild is None)
        if num_classes is not None and network.num_classes != num_classes:
            raise ModelError(
                f"{self.name} answers with {network.num_classes} classes, the data has {num_classes}",
                "let the factory take num_classes, or build it for this data",
            )
        return network

    def _module(self, factory: ModelLike, input_shape: tuple[int, int, int], num_classes: int | None) -> nn.Module:
        if isinstance(factory, nn.Module):
            return factory
        if isinstance(factory, str) and self.is_onnx and self.width == 1:
            return read_onnx(factory, input_shape).module
        if isinstance(factory, str) and not self.is_onnx:
            if factory not in ZOO:
                raise _unknown(factory)
            classes = _classes(num_classes)
            return build_zoo(factory, width=self.width, input_shape=input_shape, num_classes=classes)
        if self.width != 1:
            raise SettingError(
                f"width {self.width:g} applies to built-in networks only", "scale the channels in your own factory"
            )
        assert not isinstance(factory, str)
        offered = {"input_shape": input_shape, "in_channels": input_shape[0], "num_classes": num_classes}
        return _call_factory(factory, self.name, {k: v for k, v in offered.items() if v is not None})


@dataclass(frozen=True)
class _Scaled:
    build: Callable[..., nn.Module]
    width: float

    def __call__(self, alpha: float) -> nn.Module:
        return self.build(width=self.width * alpha)


def _classes(num_classes: int | None) -> int:
    return 100 if num_classes is None else num_classes


def _unknown(name: str) -> ModelError:
    own = name.endswith(".py") or "." in name
    return ModelError(f"unknown network {name!r}", "write path/to/file.py:factory" if own else nearest(name, ZOO))


def load_factory(reference: str) -> Callable[..., nn.Module]:
    """Return the callable that ``path/to/file.py:factory`` or ``package.module:factory`` names."""
    where, _, attribute = reference.rpartition(":")
    if not where or not attribute:
        raise ModelError(f"{reference!r} names no factory", "write path/to/file.py:factory or package.module:factory")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_package(where)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        names = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise ModelError(f"{where} has no factory {attribute!r}", nearest(attribute, names) if names else "")
    if isinstance(factory, nn.Module):
        raise ModelError(f"{reference} is a module, not a factory", "write a function that builds and returns it")
    return factory  # type: ignore[no-any-return]  # from a user's file


def _import_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ModelError(f"{path} does not exist", "write path/to/file.py:factory")
    name = f"deepreduce_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before execution, so that its classes can be pickled
    if str(path.parent) not in sys.path:  # for good, as Python does for scripts: factories import lazily, too
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelError(f"{path} failed to import: {_where(error)}") from error
    return module


def _import_package(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ModelError(f"there is no module {name!r}", "it must be importable from here or installed") from error
        raise ModelError(f"{name} failed to import: {_where(error)}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name} failed to import: {_where(error)}") from error


def _call_factory(factory: Callable[..., Any], name: str, offered: dict[str, Any]) -> nn.Module:
    """Call ``factory`` with those of the ``offered`` arguments that it names."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        parameters = MappingProxyType({})
    accepted = set(parameters)
    _refuse_unknown(name, parameters, offered)
    try:
        module = factory(**{key: value for key, value in offered.items() if key in accepted})
    except DeepReduceError:
        raise
    except (Exception, SystemExit) as error:
        needs = "it may take num_classes, input_shape and in_channels, no more" if isinstance(error, TypeError) else ""
        raise ModelError(f"{name} failed: {_where(error)}", needs) from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name} returned {type(module).__name__}, not an nn.Module")
    return module


def _refuse_unknown(name: str, parameters: Mapping[str, inspect.Parameter], offered: dict[str, Any]) -> None:
    """Raise `ModelError` naming the parameters without a default that are not ``offered``."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in variadic]
    missing = [parameter for parameter in required if parameter not in offered]
    if missing == ["num_classes"]:
        raise ModelError(
            f"{name} needs the number of classes: num_classes has no default", "give it: `classes` N, or num_classes=N"
        )
    if missing:
        hint = "a factory is called with num_classes, input_shape and in_channels: give every other parameter a default"
        raise ModelError(f"{name} needs {', '.join(missing)}", hint)


def _where(error: BaseException) -> str:
    """Return one line: the exception and the user's line it came from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '?').name}:{error.lineno})"
    return f"{type(error).__name__}: {one_line(error)} ({Path(frame.filename).name}:{frame.lineno})"


def network(
    model: ModelLike,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    num_classes: int | None = None,
    *,
    width: float = 1.0,
    stages: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Network:
    """Build and trace ``model``: a built-in name, ``file.py:factory``, a factory, or an ``nn.Module`` (weights kept).

    ``num_classes`` None means the model's own (100 for built-in networks). Raises `ModelError` with the reason if it
    cannot be found, traced, or has no ReLU.
    """
    return ModelSource(model, width, stages).build(input_shape, num_classes, seed)
