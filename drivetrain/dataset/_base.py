"""`BaseDataset`: annotations in a file, a pipeline that makes a sample of each."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from torch.utils.data import Dataset

from drivetrain.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingAttributeError,
    NotFoundError,
    NotSupportedError,
    SampleError,
    did_you_mean,
)
from drivetrain.fileio import load

from . import _annotations, _records
from ._compose import Compose

_Method = TypeVar("_Method", bound=Callable[..., Any])


def force_full_init(old_func: _Method) -> _Method:
    """Make a method load the annotations first, if that is still to be done.

    Raises:
        MissingAttributeError: the object has no method `full_init`.
    """

    @functools.wraps(old_func)
    def wrapper(obj: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(obj, "_fully_initialized", False):
            _full_init_of(obj)()
            obj._fully_initialized = True
        elif not hasattr(obj, "full_init"):
            _full_init_of(obj)
        return old_func(obj, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def _full_init_of(obj: Any) -> Callable[[], None]:
    method = getattr(obj, "full_init", None)
    if method is None:
        raise MissingAttributeError(
            f"{type(obj).__name__} has no method full_init, which force_full_init calls. Define it, or take "
            "the decorator away."
        )
    return method


class BaseDataset(Dataset[Any]):
    """Samples from an annotation file, each sent through a pipeline.

    The file (JSON, YAML or pickle) holds a dict with `metainfo`, a dict about the dataset as a whole, and `data_list`,
    a list with a dict for each sample. For another format override `load_data_list`, or `parse_data_info` for one
    entry.

    Args:
        ann_file: path or URL of the annotations, relative to `data_root`.
        metainfo: facts about the dataset, such as its classes. They go before those of the class (`METAINFO`), which go
            before those of the file. A string that names an existing text file stands for the list of its lines.
        data_root: folder that `ann_file` and `data_prefix` start from.
        data_prefix: for each key of an annotation that holds a path, the folder the path starts from.
        filter_cfg: kept for `filter_data`.
        indices: use only these samples: the first so many (an int), the last (negative), or a sequence of places.
        serialize_data: keep the annotations pickled in one array, which forked and spawned workers share. 'columns'
            keeps values that are alike in all annotations in an array for each key, which takes less memory, and
            pickles the rest; what `get_data_info` returns is the same.
        pipeline: transforms, as `Compose` takes them.
        test_mode: a pipeline that returns None is an error; otherwise another sample is taken instead.
        lazy_init: do not load the annotations yet.
        max_refetch: most samples tried in place of one whose pipeline returned None.

    Raises:
        ArgumentTypeError: an argument or an annotation is of a wrong type.
        ArgumentError: the annotation file lacks `metainfo` or `data_list`, or `serialize_data` is another text.
        MissingFileError: there is no such file.
        OutOfRangeError: `indices` names samples that are not there.
    """

    METAINFO: dict[str, Any] = {}
    _fully_initialized: bool = False
    data_bytes: _records.Bytes
    data_address: _records.Ends

    def __init__(
        self,
        ann_file: str | None = "",
        metainfo: Mapping[str, Any] | None = None,
        data_root: str | None = "",
        data_prefix: dict[str, Any] = {"img_path": ""},  # noqa: B006
        filter_cfg: dict[str, Any] | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool | Literal["columns"] = True,
        pipeline: list[dict[str, Any] | Callable[..., Any]] = [],  # noqa: B006
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        self.ann_file, self.data_root = ann_file, data_root
        self._metainfo = self._load_metainfo(copy.deepcopy(metainfo))
        self.data_prefix = copy.copy(data_prefix)
        self.filter_cfg = copy.deepcopy(filter_cfg)
        self._indices = indices
        _annotations.check_serialize(serialize_data)
        self.serialize_data, self.test_mode, self.max_refetch = serialize_data, test_mode, max_refetch
        self.data_list: list[dict[str, Any]] = []
        self._join_prefix()
        self.pipeline = Compose(pipeline)
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts about the dataset, as a copy."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """Load, filter, choose and pack the annotations. A second call does nothing."""
        if self._fully_initialized:
            return
        self.data_list = self.load_data_list()
        self.data_list = self.filter_data()
        if self._indices is not None:
            self.data_list = self._get_unserialized_subset(self._indices)
        if self.serialize_data:
            self.data_bytes, self.data_address = self._serialize_data()
        self._fully_initialized = True

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation file; override it for another format.

        Returns:
            A dict for each sample.
        """
        if not self.ann_file:
            raise ArgumentError(
                f"{type(self).__name__} has no ann_file to read. Give one, or override load_data_list() to "
                "return the list of samples."
            )
        annotations = load(self.ann_file)
        metainfo, raw_list = _annotations.checked(annotations, self.ann_file)
        for key, value in metainfo.items():
            self._metainfo.setdefault(key, value)
        parsed: list[dict[str, Any]] = []
        for raw in raw_list:
            info = self.parse_data_info(raw)
            parsed += [_annotations.one(part, self) for part in (info if type(info) is list else [info])]
        return parsed

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """Make of one entry of `data_list` a sample's annotations, or several samples'; override it for another format.

        Here the paths are joined to `data_prefix`.
        """
        for key, prefix in self.data_prefix.items():
            if key in raw_data_info:
                raw_data_info[key] = _annotations.joined(prefix, raw_data_info[key])
            elif prefix:
                raise NotFoundError(
                    f"data_prefix has the key {key!r} and the annotation {raw_data_info!r} has not."
                    f"{did_you_mean(key, raw_data_info)} The keys of data_prefix are those of an annotation that hold "
                    "paths."
                )
        return raw_data_info

    def filter_data(self) -> list[dict[str, Any]]:
        """Drop samples from `data_list`; override it, and read `filter_cfg`. Here all stay."""
        return self.data_list

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotations of a sample, as a copy, with its place in the dataset under `sample_idx`.

        Raises:
            OutOfRangeError: there is no such sample.
        """
        place = _records.place_of(idx, len(self))
        if self.serialize_data:
            info = _records.unpacked(self.data_bytes, self.data_address, place)
        else:
            info = copy.deepcopy(self.data_list[place])
        info["sample_idx"] = place
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """The categories in a sample; a class that is to be balanced overrides it."""
        raise NotSupportedError(
            f"{type(self).__name__} does not say which categories a sample has: override get_cat_ids(idx) to "
            "return them as a list of ints."
        )

    def prepare_data(self, idx: int) -> Any:
        """A sample through the pipeline; None when the pipeline gave it up."""
        return self.pipeline(self.get_data_info(idx))

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """A sample through the pipeline.

        Raises:
            SampleError: the pipeline returned None: in test mode once, otherwise for `max_refetch` others too.
        """
        if not self._fully_initialized:
            self.full_init()
        for _ in range(1 if self.test_mode else self.max_refetch + 1):
            data = self.prepare_data(idx)
            if data is not None:
                return data
            if not self.test_mode:
                idx = self._rand_another()
        raise self._no_sample(idx)

    @force_full_init
    def __len__(self) -> int:
        """Samples there are."""
        return len(self.data_address) if self.serialize_data else len(self.data_list)

    @force_full_init
    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keep only some samples: the first so many (an int), the last (negative), or those at a sequence of places."""
        if self.serialize_data:
            self.data_bytes, self.data_address = self._get_serialized_subset(indices)
        else:
            self.data_list = self._get_unserialized_subset(indices)

    @force_full_init
    def get_subset(self, indices: Sequence[int] | int) -> BaseDataset:
        """A new dataset with some of the samples; arguments as in `get_subset_`."""
        other = self._copy_without_annotation()
        if self.serialize_data:
            other.data_list = []
            other.data_bytes, other.data_address = self._get_serialized_subset(indices)
        else:
            other.data_list = copy.deepcopy(self._get_unserialized_subset(indices))
        return other

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict[str, Any]:
        merged = copy.deepcopy(cls.METAINFO)
        if metainfo is None:
            return merged
        if not hasattr(metainfo, "items"):
            raise ArgumentTypeError(
                f"metainfo must be a dict or a Config, got {type(metainfo).__name__}: {metainfo!r}. "
                "Write metainfo=dict(classes=[...])."
            )
        merged.update({key: _annotations.lines(value) for key, value in metainfo.items()})
        return merged

    def _join_prefix(self) -> None:
        """Join `ann_file` and `data_prefix` to `data_root`, unless they are absolute."""
        if not hasattr(self.data_prefix, "items"):
            raise ArgumentTypeError(
                f"data_prefix must be a dict from annotation keys to folders, got {self.data_prefix!r}. "
                "Write data_prefix=dict(img_path='images/')."
            )
        if self.ann_file:
            self.ann_file = _annotations.below(self.data_root, self.ann_file)
        for key, prefix in self.data_prefix.items():
            if not isinstance(prefix, str):
                raise ArgumentTypeError(f"data_prefix[{key!r}] must be a str, got {type(prefix).__name__}: {prefix!r}.")
            self.data_prefix[key] = _annotations.below(self.data_root, prefix)

    def _get_serialized_subset(self, indices: Sequence[int] | int) -> tuple[_records.Bytes, _records.Ends]:
        places = _records.chosen(indices, len(self.data_address))
        return _records.subset(self.data_bytes, self.data_address, places)

    def _get_unserialized_subset(self, indices: Sequence[int] | int) -> list[dict[str, Any]]:
        return [self.data_list[place] for place in _records.chosen(indices, len(self.data_list))]

    def _serialize_data(self) -> tuple[_records.Bytes, _records.Ends]:
        """Pack `data_list` and let go of it."""
        _annotations.check_serialize(self.serialize_data)
        data = _records.packed(self.data_list, self.serialize_data == "columns")
        self.data_list = []
        _records.give_back(data[0])
        return data

    def _rand_another(self) -> int:
        """Some sample, drawn from NumPy's global generator, which the loader seeds for each sample."""
        return int(np.random.randint(0, len(self)))

    def _copy_without_annotation(self, memo: dict[int, Any] = {}) -> BaseDataset:  # noqa: B006
        """A deep copy of everything but the annotations."""
        other = self.__class__.__new__(self.__class__)
        memo = {**memo, id(self): other}
        for key, value in self.__dict__.items():
            if key not in ("data_list", "data_address", "data_bytes"):
                setattr(other, key, copy.deepcopy(value, memo))
        return other

    def _no_sample(self, idx: int) -> SampleError:
        if self.test_mode:
            return SampleError(
                f"the pipeline returned None for sample {idx} of {type(self).__name__}. In test mode every sample must "
                "come through: a transform may drop samples only in training."
            )
        return SampleError(
            f"the pipeline of {type(self).__name__} returned None for {self.max_refetch + 1} samples in a row. Look at "
            "its transforms and at the paths of the data; max_refetch sets how many are tried."
        )
