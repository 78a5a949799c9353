"""`BaseDataset` and `Compose`: annotations, metainfo, paths, subsets, samples that a pipeline gives up."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from drivetrain.dataset import BaseDataset, Compose, force_full_init
from drivetrain.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingAttributeError,
    MissingFileError,
    NotFoundError,
    NotSupportedError,
    OutOfRangeError,
    SampleError,
)
from drivetrain.registry import TRANSFORMS


@pytest.fixture
def root(tmp_path):
    """A data root with an annotation file of five samples, and a list of classes."""
    annotations = {
        "metainfo": {"classes": ["a", "b"], "extra": 1},
        "data_list": [{"img_path": f"{number}.jpg", "label": number} for number in range(5)],
    }
    (tmp_path / "ann.json").write_text(json.dumps(annotations))
    (tmp_path / "classes.txt").write_text("x\ny\n")
    return tmp_path


def dataset_of(root, **kwargs):
    return BaseDataset("ann.json", data_root=str(root), **kwargs)


def labels(dataset):
    return [dataset[place]["label"] for place in range(len(dataset))]


def test_paths_start_from_the_data_root(root):
    dataset = dataset_of(root, data_prefix={"img_path": "images"})
    assert dataset.ann_file == f"{root}/ann.json"
    assert dataset.data_prefix == {"img_path": f"{root}/images"}
    assert dataset[1] == {"img_path": f"{root}/images/1.jpg", "label": 1, "sample_idx": 1}


def test_absolute_paths_and_urls_stay(root):
    dataset = BaseDataset("s3://b/a.json", data_root="r", data_prefix={"a": "/abs", "b": "http://x/y"}, lazy_init=True)
    assert dataset.ann_file == "s3://b/a.json" and dataset.data_prefix == {"a": "/abs", "b": "http://x/y"}
    assert BaseDataset(f"{root}/ann.json", data_prefix={"img_path": "p"})[0]["img_path"] == "p/0.jpg"


def test_metainfo_comes_from_the_argument_then_the_class_then_the_file(root):
    class Mine(BaseDataset):
        METAINFO = {"classes": ["q"], "palette": [1]}

    dataset = Mine("ann.json", data_root=str(root), metainfo={"classes": f"{root}/classes.txt", "note": "no such file"})
    assert dataset.metainfo == {"classes": ["x", "y"], "palette": [1], "note": "no such file", "extra": 1}
    assert Mine("ann.json", data_root=str(root)).metainfo["classes"] == ["q"]
    dataset.metainfo["palette"].append(2)
    assert dataset.metainfo["palette"] == [1] and Mine.METAINFO == {"classes": ["q"], "palette": [1]}


@pytest.mark.parametrize("serialize", [True, False])
def test_annotations_are_handed_out_as_copies(root, serialize):
    dataset = dataset_of(root, serialize_data=serialize)
    dataset.get_data_info(0)["label"] = 99
    assert labels(dataset) == [0, 1, 2, 3, 4]
    assert dataset[-1]["sample_idx"] == 4 and dataset[np.int64(2)]["sample_idx"] == 2
    assert (dataset.data_list == []) == serialize


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize(
    ("indices", "kept"),
    [
        (2, [0, 1]),
        (0, []),
        (-2, [3, 4]),
        (9, [0, 1, 2, 3, 4]),
        ([3, 1, 3], [3, 1, 3]),
        ((-1,), [4]),
        (range(1, 3), [1, 2]),
        (np.array([4, 0]), [4, 0]),
    ],
)
def test_subsets_by_count_or_places(root, serialize, indices, kept):
    assert labels(dataset_of(root, serialize_data=serialize, indices=indices)) == kept
    dataset = dataset_of(root, serialize_data=serialize)
    assert labels(dataset.get_subset(indices)) == kept
    assert len(dataset) == 5
    dataset.get_subset_(indices)
    assert labels(dataset) == kept


def test_a_subset_shares_nothing_with_the_whole(root):
    dataset = dataset_of(root, filter_cfg={"least": [1]})
    other = dataset.get_subset(2)
    other.filter_cfg["least"].append(2)
    other._metainfo["extra"] = 5
    assert dataset.filter_cfg == {"least": [1]} and dataset.metainfo["extra"] == 1


@pytest.mark.parametrize("indices", ["ab", 1.5, [1.5], [True, False], {"a": 1}, None.__class__])
def test_indices_of_a_wrong_type_are_refused(root, indices):
    with pytest.raises(ArgumentTypeError, match="a sequence of ints"):
        dataset_of(root, indices=indices)


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize("idx", [5, -6])
def test_a_place_that_is_not_there_is_an_index_error(root, serialize, idx):
    dataset = dataset_of(root, serialize_data=serialize)
    with pytest.raises(OutOfRangeError, match="from -5 to 4"):
        dataset[idx]
    with pytest.raises(IndexError):
        dataset.get_subset([idx])


def test_a_dataset_can_be_iterated(root):
    assert [sample["label"] for sample in dataset_of(root)] == [0, 1, 2, 3, 4]


def test_filtering_comes_before_choosing(root):
    class Filtered(BaseDataset):
        def filter_data(self):
            return [info for info in self.data_list if info["label"] > self.filter_cfg["least"]]

    assert labels(Filtered("ann.json", data_root=str(root), filter_cfg={"least": 2}, indices=1)) == [3]


def test_an_entry_may_become_several_samples(root):
    class Twice(BaseDataset):
        def parse_data_info(self, raw_data_info):
            return [{"label": raw_data_info["label"]}, {"label": -raw_data_info["label"]}]

    assert labels(Twice("ann.json", data_root=str(root)))[:4] == [0, 0, 1, -1]


@pytest.mark.parametrize("wrong", [None, 3, [{"a": 1}, 3]])
def test_an_entry_must_become_a_dict_or_a_list_of_them(root, wrong):
    class Wrong(BaseDataset):
        def parse_data_info(self, raw_data_info):
            return wrong

    with pytest.raises(ArgumentTypeError, match=r"Wrong\.parse_data_info must return"):
        Wrong("ann.json", data_root=str(root))


def test_lazy_annotations_are_loaded_on_first_use(root):
    for use in (
        len,
        lambda dataset: dataset[1],
        lambda dataset: dataset.get_subset(1),
        lambda dataset: dataset.get_data_info(0),
    ):
        dataset = dataset_of(root, lazy_init=True)
        assert not dataset._fully_initialized and "extra" not in dataset.metainfo
        use(dataset)
        assert dataset._fully_initialized and dataset.metainfo["extra"] == 1


def test_a_packed_dataset_survives_pickle(root):
    dataset = pickle.loads(pickle.dumps(dataset_of(root)))
    assert labels(dataset) == [0, 1, 2, 3, 4]
    assert dataset.data_bytes.dtype == np.uint8 and dataset.data_address.tolist()[-1] == len(dataset.data_bytes)


def test_an_empty_dataset_has_length_zero():
    class Empty(BaseDataset):
        def load_data_list(self):
            return []

    assert len(Empty()) == len(Empty(serialize_data=False)) == 0


def test_in_training_another_sample_takes_the_place_of_one_given_up(root):
    np.random.seed(0)
    dataset = dataset_of(root, pipeline=[lambda info: info if info["label"] == 3 else None])
    assert dataset[0]["label"] == 3
    with pytest.raises(SampleError, match="4 samples in a row"):
        dataset_of(root, pipeline=[lambda info: None], max_refetch=3)[0]


def test_in_test_mode_no_sample_may_be_given_up(root):
    with pytest.raises(SampleError, match="returned None for sample 2"):
        dataset_of(root, pipeline=[lambda info: None], test_mode=True)[2]


def test_categories_must_be_told_by_the_class(root):
    with pytest.raises(NotSupportedError, match="override get_cat_ids"):
        dataset_of(root).get_cat_ids(0)


def test_a_missing_file_names_the_nearest(root):
    with pytest.raises(MissingFileError, match=r"ann\.json"):
        BaseDataset("anno.json", data_root=str(root))


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ([1], ArgumentTypeError, "holds a list"),
        ({"data_list": []}, ArgumentError, "lacks 'metainfo'"),
        ({"meta_info": {}, "data_list": []}, ArgumentError, "Did you mean 'meta_info'"),
        ({"metainfo": [], "data_list": []}, ArgumentTypeError, "metainfo is a list"),
        ({"metainfo": {}, "data_list": {}}, ArgumentTypeError, "data_list a dict"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, error, words):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(error, match=words):
        BaseDataset(str(tmp_path / "a.json"))


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"metainfo": [1]}, ArgumentTypeError, "metainfo must be a dict"),
        ({"data_prefix": None}, ArgumentTypeError, "data_prefix must be a dict"),
        ({"data_prefix": {"img": 1}}, ArgumentTypeError, r"data_prefix\['img'\] must be a str, got int"),
        ({"data_prefix": {"img_pth": "x"}}, NotFoundError, "Did you mean 'img_path'"),
        ({"data_prefix": {"label": "x"}}, ArgumentTypeError, "must be a str, got int: 0"),
        ({"pipeline": [3]}, ArgumentTypeError, "entry 0 of the pipeline"),
        ({"pipeline": {"type": "Flip"}}, ArgumentTypeError, "Put a single transform into a list"),
        ({"pipeline": [{"type": "NoSuchTransform"}]}, NotFoundError, "NoSuchTransform"),
    ],
)
def test_wrong_arguments_are_refused_at_once(root, kwargs, error, words):
    with pytest.raises(error, match=words):
        dataset_of(root, **kwargs)


def test_no_annotation_file_and_no_override_is_an_error():
    with pytest.raises(ArgumentError, match="override load_data_list"):
        BaseDataset()


def test_a_pipeline_calls_its_transforms_in_turn_and_stops_at_none():
    calls = []

    def first(data):
        calls.append("first")
        return None if data["drop"] else data

    def second(data):
        calls.append("second")
        return data

    pipeline = Compose([first, second])
    assert pipeline({"drop": True}) is None and calls == ["first"]
    assert pipeline({"drop": False}) == {"drop": False}
    assert Compose(None).transforms == [] and Compose([])({"a": 1}) == {"a": 1}
    assert repr(Compose([len])) == "Compose(\n    <built-in function len>\n)"


def test_a_transform_is_built_from_its_config():
    class AddOne:
        def __init__(self, key):
            self.key = key

        def __call__(self, data):
            return {**data, self.key: data[self.key] + 1}

    TRANSFORMS.register_module(name="DatasetTestAddOne", module=AddOne, force=True)
    assert Compose([{"type": "DatasetTestAddOne", "key": "x"}, dict])({"x": 1}) == {"x": 2}


def test_force_full_init_needs_full_init():
    class Without:
        @force_full_init
        def go(self):
            return 1

    class With(Without):
        count = 0

        def full_init(self):
            self.count += 1

    with pytest.raises(MissingAttributeError, match="full_init"):
        Without().go()
    thing = With()
    assert (thing.go(), thing.go(), thing.count) == (1, 1, 1)
