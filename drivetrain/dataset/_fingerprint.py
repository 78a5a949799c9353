"""What the order of samples follows from, saved with a loader's position and compared when a run is resumed."""

from __future__ import annotations

import logging
import zlib
from typing import Any, Literal

from torch.utils.data import BatchSampler

from drivetrain.errors import ArgumentError, CheckpointError, did_you_mean
from drivetrain.logging import print_log

OnChange = Literal["refuse", "restart", "keep"]
ON_CHANGE = ("refuse", "restart", "keep")
_SETTINGS = ("shuffle", "round_up", "replacement", "world_size")
_LONGEST = 120


def check_on_change(value: Any) -> None:
    """Refuse an unknown way to go on.

    Raises:
        ArgumentError: `value` is none of the ways.
    """
    if value not in ON_CHANGE:
        raise ArgumentError(
            f"on_change must be 'refuse', 'restart' or 'keep', got {value!r}.{did_you_mean(str(value), ON_CHANGE)}"
        )


def fingerprint(loader: Any) -> dict[str, Any]:
    """The facts of a loader from which the order of its samples and their random numbers follow, but for the seed."""
    batches, dataset = loader.batch_sampler, loader.dataset
    facts = {
        **_facts_of_dataset(dataset),
        "batch_size": loader.batch_size if batches is None else getattr(batches, "batch_size", None),
        "drop_last": getattr(batches, "drop_last", loader.drop_last),
        **_facts_of_sampler("sampler", getattr(batches, "sampler", loader.sampler)),
        "streams": loader.streams,
    }
    if batches is not None and type(batches) is not BatchSampler:
        facts["batch_sampler"] = type(batches).__qualname__
    if loader.streams == "worker":
        facts["num_workers"] = loader.num_workers
        facts["persistent_workers"] = loader.persistent_workers
    return {name: fact for name, fact in facts.items() if fact is not None}


def changes(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, each with both values; a fact that only one of them knows is left out."""
    return [
        f"{name} was {saved[name]!r} and is {now[name]!r}" for name in saved if name in now and saved[name] != now[name]
    ]


def settled(state: dict[str, Any], now: dict[str, Any], on_change: str) -> dict[str, Any]:
    """The state of a loader as it is to be loaded into one with the facts `now`.

    Args:
        state: what `DataLoader.state_dict` returned; one without facts passes.
        now: facts of the loader.
        on_change: 'refuse', 'restart' or 'keep'.

    Raises:
        CheckpointError: facts differ, and `on_change` is 'refuse'.
    """
    changed = changes(state.get("order") or {}, now)
    if not changed:
        return state
    what = "; ".join(changed)
    if on_change == "refuse":
        raise CheckpointError(
            f"the training data is not what the checkpoint was saved with: {what}. The samples that come next would "
            "not be those that were to come. Set it back; or say how to go on: train_dataloader=dict(..., "
            "on_change='restart') begins a new pass over the data, on_change='keep' goes on behind as many batches."
        )
    place = "a new pass begins" if on_change == "restart" else f"going on behind batch {state['consumed']} of the pass"
    print_log(f"The training data has changed ({what}); {place}.", logger="current", level=logging.WARNING)
    if on_change == "keep":
        return {name: value for name, value in state.items() if name != "entry"}
    number = state["pass_index"] + (1 if state["consumed"] else 0)
    return {"pass_index": number, "consumed": 0, "seed": state.get("seed")}


def _facts_of_dataset(dataset: Any) -> dict[str, Any]:
    inner = getattr(dataset, "_dataset", None) if type(dataset).__name__ == "SlicedDataset" else dataset
    return {
        "dataset": type(inner).__qualname__,
        "samples": len(dataset) if hasattr(dataset, "__len__") else None,
        "metainfo": _short(getattr(dataset, "metainfo", None)),
    }


def _facts_of_sampler(role: str, sampler: Any) -> dict[str, Any]:
    facts = {f"{role}.{name}": getattr(sampler, name, None) for name in _SETTINGS}
    kind = type(sampler).__qualname__
    return {role: None if kind == "_InfiniteConstantSampler" else kind, **_plain(facts)}


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if type(fact) in (bool, int)}


def _short(value: Any) -> str | None:
    """A text that stands for `value`; None when it has none that is the same in every process."""
    text = repr(value)
    if value is None or " at 0x" in text:
        return None
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... (checksum {zlib.crc32(text.encode()):08x})"
