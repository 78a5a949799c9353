"""From inputs to results: build a model from a config, run it on batches of inputs, draw and pack what it predicts."""

from __future__ import annotations

import math
import os
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from drivetrain.checkpoint import CheckpointLoader, _load_checkpoint_to_model
from drivetrain.config import Config, index_folder, models_in
from drivetrain.dataset import COLLATE_FUNCTIONS, pseudo_collate
from drivetrain.device import get_device
from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.fileio import isdir, join_path, list_dir_or_file
from drivetrain.registry import MODELS, VISUALIZERS, init_default_scope
from drivetrain.visualization import Visualizer

from ._meta import STEPS, InferencerMeta
from ._sources import Source, config_at, config_in, copied_config, current_scope, is_path, list_models, named_model
from ._types import ConfigType, InputsType, ModelType


class BaseInferencer(metaclass=InferencerMeta):
    """Base of a task's inferencer.

    A subclass gives `_init_pipeline`, `visualize` and `postprocess`, and names in the class attributes which keyword
    arguments of a call go to which method. A call turns the inputs into a list, preprocesses them in batches, runs the
    model on each batch, draws, and packs the results.

    Args:
        model: a config, the path of one, or the name of a model that the package of `scope` ships, whose weights are
            then found too. None takes the config that the checkpoint `weights` holds.
        weights: path or address of a checkpoint; it is read without running what it holds.
        device: device to run on; by default the accelerator, else the CPU.
        scope: the package whose registries names are looked up in, such as 'mmdet'; by default the current scope, or
            the config's `default_scope`.
        show_progress: show a progress bar.

    Attributes:
        cfg: the config, a copy.
        model: the model, on its device, in evaluation mode; its `cfg` is the config.
        pipeline: what `_init_pipeline` returned.
        collate_fn: makes a batch of preprocessed inputs.
        visualizer: the visualizer of the config, or None.

    Raises:
        ArgumentTypeError: `model` is none of these.
        ArgumentError: neither `model` nor `weights` is given.
        NotFoundError: the package ships no model of that name.
    """

    preprocess_kwargs: set[str] = set()
    forward_kwargs: set[str] = set()
    visualize_kwargs: set[str] = set()
    postprocess_kwargs: set[str] = set()

    def __init__(
        self,
        model: ModelType | None = None,
        weights: str | None = None,
        device: str | None = None,
        scope: str | None = None,
        show_progress: bool = True,
    ) -> None:
        self.scope = scope or current_scope()
        source = self._source(model, weights)
        self.scope = self.scope or source.cfg.get("default_scope")
        if self.scope is not None:
            init_default_scope(self.scope)
        self._read = source
        self.model = self._init_model(source.cfg, source.weights, device or get_device())
        del self._read
        self.pipeline = self._init_pipeline(source.cfg)
        self.collate_fn = self._init_collate(source.cfg)
        self.visualizer = self._init_visualizer(source.cfg)
        self.cfg = source.cfg
        self.show_progress = show_progress

    def __call__(
        self, inputs: InputsType, return_datasamples: bool = False, batch_size: int = 1, **kwargs: Any
    ) -> dict[str, Any]:
        """Run the model on inputs.

        Args:
            inputs: a path, an address, an array, a tensor, a folder (all its files), or a list of these.
            return_datasamples: return predictions as data elements rather than as plain containers.
            batch_size: inputs per batch.
            kwargs: arguments of the steps, as the class attributes name them.

        Returns:
            What `postprocess` returns.

        Raises:
            ArgumentError: no step takes one of `kwargs`, or `batch_size` is below 1.
        """
        preprocess_kwargs, forward_kwargs, visualize_kwargs, postprocess_kwargs = self._dispatch_kwargs(**kwargs)
        originals = self._inputs_to_list(inputs)
        batches = self.preprocess(originals, batch_size=batch_size, **preprocess_kwargs)
        predictions: list[Any] = []
        for batch in self._shown(batches, math.ceil(len(originals) / max(batch_size, 1))):
            predictions.extend(self.forward(batch, **forward_kwargs))
        drawn = self.visualize(originals, predictions, **visualize_kwargs)
        return self.postprocess(predictions, drawn, return_datasamples, **postprocess_kwargs)

    def preprocess(self, inputs: InputsType, batch_size: int = 1, **kwargs: Any) -> Iterator[Any]:
        """Batches of preprocessed inputs, for `forward`."""
        for chunk in self._get_chunk_data(map(self.pipeline, inputs), batch_size):
            yield self.collate_fn(chunk)

    @torch.no_grad()
    def forward(self, inputs: dict[str, Any] | tuple[Any, ...], **kwargs: Any) -> Any:
        """The model's predictions for one batch, by its `test_step`."""
        step: Callable[..., Any] = self.model.test_step  # type: ignore[assignment]
        return step(inputs)

    @abstractmethod
    def visualize(self, inputs: list[Any], preds: Any, show: bool = False, **kwargs: Any) -> list[np.ndarray]:
        """Draw the predictions.

        Args:
            inputs: the inputs, as a list.
            preds: the predictions of all batches.
            show: show each image in a window.
            kwargs: those of `visualize_kwargs`.

        Returns:
            The drawn images, or None.
        """

    @abstractmethod
    def postprocess(
        self, preds: Any, visualization: list[np.ndarray], return_datasample: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Pack the results, and write them if asked.

        Args:
            preds: the predictions of all batches.
            visualization: what `visualize` returned.
            return_datasample: return data elements rather than plain containers.
            kwargs: those of `postprocess_kwargs`.
        """

    @abstractmethod
    def _init_pipeline(self, cfg: ConfigType) -> Callable[..., Any]:
        """What turns one input into one sample, usually from `cfg.test_dataloader.dataset.pipeline`."""

    @staticmethod
    def list_models(scope: str | None = None, patterns: str = r".*") -> list[str]:
        """Names of the models that a package ships, aliases included.

        Args:
            scope: the package, such as 'mmdet'; by default the current scope.
            patterns: a regular expression that names begin with.

        Raises:
            ArgumentError: no scope is given and none is set.
            MissingPackageError: the package is not installed.
        """
        return list_models(scope, patterns)

    def _source(self, model: Any, weights: str | None) -> Source:
        """The config, and where the weights are."""
        if model is None:
            return config_in(weights)
        if not is_path(model):
            return Source(copied_config(model), weights)
        path = os.fspath(model)
        cfg = config_at(path)
        if cfg is not None:
            return Source(cfg, weights)
        cfg, shipped = self._load_model_from_metafile(path)
        return Source(cfg, weights or shipped)

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str | None]:
        """The config and the address of the weights of a model that the package of the scope ships."""
        found = named_model(model, self.scope)
        return Config.fromfile(found.config), found.weights

    @staticmethod
    def _get_repo_or_mim_dir(scope: str) -> str:
        """The folder of a package's model index."""
        return str(index_folder(scope))

    @staticmethod
    def _get_models_from_metafile(dir: str) -> Iterator[Mapping[str, Any]]:
        """What the model index in a folder says of each model."""
        return (found.fields for found in models_in(Path(dir)))

    def _init_model(self, cfg: ConfigType, weights: str | None, device: str = "cpu") -> nn.Module:
        """Build the model, load its weights, and move it to its device."""
        if "model" not in cfg:
            raise ArgumentError(
                f"the config describes no model: it has no key 'model', but {', '.join(cfg) or 'nothing'}."
            )
        checkpoint = None if weights is None else self._checkpoint(weights)
        # What it would start its training from is neither needed nor, perhaps, within reach.
        cfg.model.pop("pretrained", None)
        model: nn.Module = MODELS.build(cfg.model)
        model.cfg = cfg  # type: ignore[assignment]
        self._load_weights_to_model(model, checkpoint, cfg)
        model.to(device)
        return model.eval()

    def _checkpoint(self, weights: str) -> Any:
        source: Source | None = getattr(self, "_read", None)
        if source is not None and source.checkpoint is not None and source.weights == weights:
            return source.checkpoint
        return CheckpointLoader.load_checkpoint(weights, "cpu")

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict[str, Any] | None, cfg: ConfigType | None
    ) -> None:
        """Load the weights of a checkpoint; subclasses take what they need of its `meta` too."""
        if checkpoint is not None:
            _load_checkpoint_to_model(model, checkpoint)
            return
        warnings.warn(
            "no weights were given: the model predicts with the random numbers it was initialised with.", stacklevel=4
        )

    def _init_collate(self, cfg: ConfigType) -> Callable[..., Any]:
        """What makes a batch of samples: `collate_fn` of the test loader, or `pseudo_collate`."""
        given = (cfg.get("test_dataloader") or {}).get("collate_fn", pseudo_collate)
        if callable(given):
            return given
        options = {"type": given} if type(given) is str else dict(given)
        kind = options.pop("type")
        found = kind if callable(kind) else COLLATE_FUNCTIONS.get(kind)
        if found is None:
            raise ArgumentTypeError(
                f"collate_fn: {kind!r} is no registered function."
                f"{did_you_mean(str(kind), COLLATE_FUNCTIONS.module_dict)}"
            )
        return partial(found, **options) if options else found

    def _init_visualizer(self, cfg: ConfigType) -> Visualizer | None:
        """The visualizer of the config under a name of its own, or None."""
        if cfg.get("visualizer") is None:
            return None
        options = dict(cfg.visualizer.items())
        name = options.get("name")
        if name is None or Visualizer.check_instance_created(name):
            options["name"] = f"{name}-{time.time_ns()}" if name else str(time.time_ns())
        visualizer: Visualizer = VISUALIZERS.build(options)
        return visualizer

    def _inputs_to_list(self, inputs: InputsType) -> list[Any]:
        """The inputs as a list; a folder is its files, in sorted order."""
        if type(inputs) is str and "://" not in inputs and isdir(inputs):
            return [join_path(inputs, name) for name in list_dir_or_file(inputs, list_dir=False)]
        return list(inputs) if type(inputs) in (list, tuple) else [inputs]

    def _get_chunk_data(self, inputs: Iterable[Any], chunk_size: int) -> Iterator[list[Any]]:
        """Lists of `chunk_size` consecutive items; the last may be shorter."""
        if chunk_size < 1:
            raise ArgumentError(f"batch_size must be at least 1, got {chunk_size!r}.")
        items = iter(inputs)
        while chunk := list(islice(items, chunk_size)):
            yield chunk

    def _dispatch_kwargs(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The arguments of each of the four steps."""
        taken = [getattr(self, step) for step in STEPS]
        known = set().union(*taken)
        unknown = sorted(set(kwargs) - known)
        if unknown:
            raise ArgumentError(
                f"unknown argument {', '.join(map(repr, unknown))} for `preprocess`, `forward`, `visualize` and "
                f"`postprocess` of {type(self).__name__}.{did_you_mean(unknown[0], known)} "
                f"It takes: {', '.join(sorted(known)) or 'none'}."
            )
        by_step = [{name: value for name, value in kwargs.items() if name in names} for names in taken]
        return by_step[0], by_step[1], by_step[2], by_step[3]

    def _shown(self, batches: Iterable[Any], count: int) -> Iterable[Any]:
        """The batches, behind a progress bar if one is wanted."""
        if not self.show_progress:
            return batches
        from rich.progress import track

        return track(batches, description="Inference", total=count)
