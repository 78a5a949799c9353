"""`build_dataloader`: a loader from a config."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import IterableDataset

from drivetrain.device import has_pinned_memory
from drivetrain.dist import get_rank, get_world_size
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean
from drivetrain.logging import print_log
from drivetrain.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS

from ._collate import pseudo_collate
from ._configs import is_config
from ._fingerprint import check_on_change
from ._loader import DataLoader, StreamsMode
from ._pack import pack_collate
from ._workers import worker_init_fn

_TORCH_KEYS = tuple(inspect.signature(TorchDataLoader.__init__).parameters)[1:]
_KEYS = (*_TORCH_KEYS, "num_batch_per_epoch", "disable_subprocess_warning", "on_change")
_default_streams: ContextVar[StreamsMode] = ContextVar("default_streams", default="sample")
_default_packed: ContextVar[bool] = ContextVar("default_packed", default=False)


@contextmanager
def streams_by_default(streams: StreamsMode, *, packed: bool = False) -> Iterator[None]:
    """Give loaders that are built inside the block these streams, unless they ask for others.

    A run builds its loaders in such blocks: loops of other packages call `build_dataloader` with the contract's
    arguments, which have no place for streams.

    Args:
        streams: 'sample' or 'worker'.
        packed: let loaders with workers or pinned memory use `pack_collate` where their config names `pseudo_collate`
            or nothing.
    """
    token, packed_token = _default_streams.set(streams), _default_packed.set(packed)
    try:
        yield
    finally:
        _default_streams.reset(token)
        _default_packed.reset(packed_token)


def build_dataloader(
    dataloader: TorchDataLoader[Any] | Mapping[str, Any],
    seed: int | None = None,
    diff_rank_seed: bool = False,
    *,
    streams: StreamsMode | None = None,
) -> DataLoader:
    """A loader from its config.

    The keys: `dataset` (an object, or a config for DATASETS), `sampler` (an object, a config for DATA_SAMPLERS, which
    gets `dataset` and `seed`, or None for torch's), `batch_sampler` (likewise; gets `sampler` and `batch_size`),
    `collate_fn` (a callable, or a config for FUNCTIONS whose other keys are passed on; by default `pseudo_collate`, in
    a run whose preprocessor is an `ImgDataPreprocessor` `pack_collate` where there are workers or pinned memory),
    `worker_init_fn` (likewise; by default the function of that name), `num_batch_per_epoch` (use only as many samples
    as make so many batches), `disable_subprocess_warning`, `on_change` (see `DataLoader`), and all arguments of
    torch's `DataLoader`; of these `pin_memory` is by default True where there is an accelerator that copies from pinned
    memory.

    Args:
        dataloader: the config, which is not changed; or a torch loader, which `DataLoader.adopt` takes over.
        seed: seed of the sampler's order and of the random streams.
        diff_rank_seed: ranks have different seeds; the sampler then draws a common one.
        streams: 'sample' or 'worker'; see `DataLoader`. By default those of the run, 'sample' outside of one.

    Raises:
        ArgumentTypeError: a key is unknown or a value of a wrong type. Nothing is built then.
        ArgumentError: a value is wrong.
        NotFoundError: `dataset` or `sampler` is missing, or a name is not registered.
    """
    streams = _default_streams.get() if streams is None else streams
    if not is_config(dataloader):
        return DataLoader.adopt(dataloader, seed=seed, streams=streams)  # type: ignore[arg-type]
    cfg = dict(dataloader.items())  # type: ignore[union-attr]
    _check(cfg)
    check_on_change(cfg.get("on_change", "refuse"))
    cfg.setdefault("pin_memory", has_pinned_memory())
    cfg["worker_init_fn"] = _worker_init(cfg, seed)
    cfg.update(_collate(cfg))
    dataset = cfg["dataset"] = _dataset(cfg)
    cfg.update(_samplers(cfg, dataset, None if diff_rank_seed else seed))
    return DataLoader(**cfg, seed=seed, streams=streams)


def _check(cfg: dict[str, Any]) -> None:
    """Refuse what can be seen to be wrong before a dataset is read."""
    for key in cfg:
        if key not in _KEYS:
            raise ArgumentTypeError(
                f"a dataloader has no argument {key!r}.{did_you_mean(key, _KEYS)} It takes {', '.join(_KEYS)}."
            )
    if "dataset" not in cfg:
        raise NotFoundError("a dataloader needs a dataset: dict(dataset=dict(type=...), sampler=..., batch_size=...).")
    for key in ("dataset", "sampler", "batch_sampler"):
        _check_made(key, cfg.get(key))
    if cfg.get("shuffle") and (cfg.get("sampler") is not None or cfg.get("batch_sampler") is not None):
        raise ArgumentError(
            "shuffle=True and a sampler both say in which order the samples come. Keep one: "
            "sampler=dict(type='DefaultSampler', shuffle=True)."
        )
    for key, least in (("batch_size", 1), ("num_workers", 0), ("num_batch_per_epoch", 1)):
        value = cfg.get(key, least)
        if value is not None or key == "num_workers":
            _check_count(key, value, least)
    if type(cfg.get("disable_subprocess_warning", False)) is not bool:
        raise ArgumentTypeError(
            f"disable_subprocess_warning must be a bool, got {cfg['disable_subprocess_warning']!r}."
        )


def _check_made(key: str, value: Any) -> None:
    """Refuse a name or a class in place of an object: text has a length and items, and would pass for either."""
    if type(value) is str:
        raise ArgumentTypeError(
            f"{key} must be an object or a config, got the text {value!r}. Write {key}=dict(type={value!r}, ...)."
        )
    if isinstance(value, type):
        raise ArgumentTypeError(
            f"{key} must be an object or a config, got the class {value.__name__}. Create it, "
            f"{key}={value.__name__}(...), or write {key}=dict(type={value.__name__}, ...)."
        )


def _check_count(key: str, value: Any, least: int) -> None:
    if type(value) is not int:
        raise ArgumentTypeError(f"{key} must be an int, got {type(value).__name__}: {value!r}.")
    if value < least:
        raise ArgumentError(f"{key} must be {least} or more, got {value}.")


def _dataset(cfg: dict[str, Any]) -> Any:
    dataset, batches = cfg["dataset"], cfg.pop("num_batch_per_epoch", None)
    if is_config(dataset):
        dataset = DATASETS.build(dataset)
        if hasattr(dataset, "full_init"):
            dataset.full_init()
    if batches is None:
        return dataset
    if not hasattr(dataset, "__len__"):
        raise ArgumentError(
            f"num_batch_per_epoch needs a dataset with a length, and {type(dataset).__name__} has none."
        )
    return SlicedDataset(dataset, batches * (cfg.get("batch_size", 1) or 1) * get_world_size())


def _samplers(cfg: dict[str, Any], dataset: Any, seed: int | None) -> dict[str, Any]:
    """The sampler and the batch sampler; where there is the latter, torch wants neither the former nor a batch size."""
    batch_sampler = cfg.get("batch_sampler")
    sampler = _sampler(cfg, dataset, seed)
    if batch_sampler is None:
        return {"sampler": sampler}
    if is_config(batch_sampler):
        defaults = {"sampler": sampler, "batch_size": cfg.pop("batch_size", 1)}
        batch_sampler = DATA_SAMPLERS.build(batch_sampler, default_args=defaults)
    return {"sampler": None, "batch_sampler": batch_sampler}


def _sampler(cfg: dict[str, Any], dataset: Any, seed: int | None) -> Any:
    if "sampler" not in cfg:
        given = cfg.get("batch_sampler")
        if isinstance(dataset, IterableDataset) or not (given is None or is_config(given)):
            return None
        if "shuffle" not in cfg:
            raise NotFoundError(
                "a dataloader needs a sampler, which says in which order the samples come and which rank gets which: "
                "sampler=dict(type='DefaultSampler', shuffle=True) for training, shuffle=False for evaluation."
            )
        cfg["sampler"] = {"type": "DefaultSampler", "shuffle": bool(cfg.pop("shuffle"))}
    sampler = cfg["sampler"]
    if not is_config(sampler):
        return sampler
    if not hasattr(dataset, "__len__"):
        raise ArgumentTypeError(
            f"a sampler deals out the indices of a dataset, and {type(dataset).__name__} has no __len__ to say how "
            "many there are. Define it, or derive the dataset from torch.utils.data.IterableDataset, without a sampler."
        )
    return DATA_SAMPLERS.build(sampler, default_args={"dataset": dataset, "seed": seed})


def _worker_init(cfg: dict[str, Any], seed: int | None) -> Callable[..., Any] | None:
    quiet = cfg.pop("disable_subprocess_warning", False)
    if cfg.get("worker_init_fn") is not None:
        return _function("worker_init_fn", cfg["worker_init_fn"])
    if seed is None:
        return None
    return partial(worker_init_fn, num_workers=cfg.get("num_workers", 0), rank=get_rank(), seed=seed,
                   disable_subprocess_warning=quiet)  # fmt: skip


def _collate(cfg: dict[str, Any]) -> dict[str, Any]:
    given = cfg.get("collate_fn")
    if "collate_fn" in cfg:
        collate = _function("collate_fn", given)
        return {"collate_fn": collate if collate is given else _packing(collate, cfg)}
    # Without batches there is nothing to collate: torch's own default converts arrays to tensors.
    whole = cfg.get("batch_size", 1) is None and cfg.get("batch_sampler") is None
    return {} if whole else {"collate_fn": _packing(pseudo_collate, cfg)}


def _packing(collate: Callable[..., Any], cfg: dict[str, Any]) -> Callable[..., Any]:
    """`pack_collate` in the place of `pseudo_collate` where that is wanted and pays."""
    pays = cfg.get("num_workers", 0) > 0 or cfg["pin_memory"]
    if collate is not pseudo_collate or not pays or not _default_packed.get():
        return collate
    print_log(
        "Batches are packed: the tensors of a list lie in one buffer, which is sent, pinned and moved as a whole "
        "(pack_collate). collate_fn=pseudo_collate, the function itself, leaves them apart.",
        logger="current",
    )
    return pack_collate


def _function(role: str, given: Any) -> Callable[..., Any]:
    """A callable, or the registered function of a config with the config's other keys bound."""
    if callable(given):
        return given
    if not is_config(given) or "type" not in given:
        raise ArgumentTypeError(
            f"{role} must be a callable or dict(type='name', ...) with the name of a function, got {given!r}."
        )
    kwargs = dict(given.items())
    kind = kwargs.pop("type")
    found = kind if callable(kind) else FUNCTIONS.get(kind)
    if found is None:
        raise NotFoundError(
            f"{role}: {kind!r} is not in the registry FUNCTIONS."
            f"{did_you_mean(str(kind), FUNCTIONS.module_dict)} Register it with "
            "@FUNCTIONS.register_module(), and import the module that does."
        )
    return partial(found, **kwargs) if kwargs else found


class SlicedDataset:
    """The first samples of a dataset; everything else is the dataset's own.

    Args:
        dataset: the dataset.
        length: samples to keep, if there are as many.
    """

    def __init__(self, dataset: Any, length: int) -> None:
        self._dataset, self._length = dataset, min(length, len(dataset))

    def __getattr__(self, name: str) -> Any:
        # While unpickling there is no dataset yet to ask.
        if name == "_dataset":
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __getitem__(self, idx: int) -> Any:
        return self._dataset[idx]

    def __len__(self) -> int:
        return self._length
