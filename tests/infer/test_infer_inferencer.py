"""An inferencer: where its parts come from, and how a call goes."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from drivetrain.checkpoint import save_checkpoint
from drivetrain.config import Config, ConfigDict
from drivetrain.dataset import default_collate, pseudo_collate
from drivetrain.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    ConfigParsingError,
    MissingFileError,
    MissingPackageError,
    NotFoundError,
)
from drivetrain.infer import BaseInferencer, InferencerMeta
from drivetrain.model import BaseModel
from drivetrain.registry import FUNCTIONS, MODELS, DefaultScope
from drivetrain.visualization import Visualizer


class Doubles(BaseModel):
    """Predicts its inputs times a weight."""

    def __init__(self, start: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start))
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, inputs: Any, mode: str = "tensor") -> Any:
        self.modes.append((self.training, torch.is_grad_enabled()))
        return [float(item * self.weight) for item in inputs]


class Inferencer(BaseInferencer):
    preprocess_kwargs = {"offset"}
    forward_kwargs = {"scale"}
    visualize_kwargs = {"show", "marker"}
    postprocess_kwargs = {"digits"}

    def _init_pipeline(self, cfg: Any) -> Any:
        return lambda item: {"inputs": torch.tensor(float(item))}

    def preprocess(self, inputs: Any, batch_size: int = 1, offset: float = 0.0) -> Any:
        return super().preprocess([item + offset for item in inputs], batch_size)

    def forward(self, inputs: Any, scale: float = 1.0) -> Any:
        return [item * scale for item in super().forward(inputs)]

    def visualize(self, inputs: Any, preds: Any, show: bool = False, marker: str = "o") -> Any:
        return [f"{marker}{item}" for item in inputs]

    def postprocess(self, preds: Any, visualization: Any, return_datasample: bool = False, digits: int = 3) -> Any:
        return {"predictions": [round(item, digits) for item in preds], "drawn": visualization, "as": return_datasample}


@pytest.fixture(autouse=True)
def scope_as_before() -> Iterator[None]:
    table = dict(DefaultScope._instance_dict)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no weights were given")
        yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(table)


def config(**more: Any) -> dict[str, Any]:
    return {"model": {"type": Doubles, "start": 3.0}, **more}


def quiet(model: Any = None, **kwargs: Any) -> Inferencer:
    return Inferencer(model, device="cpu", show_progress=False, **kwargs)


def weights(folder: Path, **checkpoint: Any) -> str:
    path = str(folder / "weights.pth")
    save_checkpoint({"state_dict": {"weight": torch.tensor(7.0)}, "meta": {}, **checkpoint}, path)
    return path


def test_call_preprocesses_predicts_draws_and_packs_in_batches() -> None:
    inferencer = quiet(config())
    result = inferencer([1, 2, 3], True, batch_size=2, offset=1.0, scale=10.0, marker="x", digits=1)
    assert result == {"predictions": [60.0, 90.0, 120.0], "drawn": ["x1", "x2", "x3"], "as": True}
    assert inferencer.model.modes == [(False, False), (False, False)]


def test_unknown_argument_is_refused_with_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"Did you mean 'marker'.*digits, marker, offset, scale, show"):
        quiet(config())([1], markre="x")


def test_arguments_are_dispatched_by_the_class_attributes() -> None:
    assert quiet(config())._dispatch_kwargs(show=1, offset=2, digits=3) == (
        {"offset": 2}, {}, {"show": 1}, {"digits": 3},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"forward_kwargs": ["a"]}, "must be a set"),
        ({"forward_kwargs": {1}}, "must be a set"),
        ({"forward_kwargs": {"show"}}, "'show' both in forward_kwargs and in visualize_kwargs"),
    ],
)
def test_class_with_unclear_arguments_is_refused_when_it_is_defined(attributes: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        InferencerMeta("Unclear", (Inferencer,), attributes)


def test_abstract_steps_must_be_given() -> None:
    with pytest.raises(TypeError, match="_init_pipeline"):
        BaseInferencer(config())


def test_model_is_built_in_evaluation_with_its_config() -> None:
    inferencer = quiet(config(), scope="mmengine")
    assert type(inferencer.model) is Doubles and not inferencer.model.training
    assert inferencer.model.cfg is inferencer.cfg
    assert (inferencer.collate_fn, inferencer.visualizer, inferencer.scope) == (pseudo_collate, None, "mmengine")


def test_config_is_copied_and_its_pretrained_weights_are_left_out() -> None:
    given = config(extra=[1])
    given["model"]["pretrained"] = "https://nowhere/weights.pth"
    inferencer = quiet(given)
    assert "pretrained" not in inferencer.cfg.model and given["model"]["pretrained"]
    inferencer.cfg.extra.append(2)
    assert given["extra"] == [1]


@pytest.mark.parametrize("kind", [ConfigDict, Config])
def test_config_objects_are_taken_and_kept_in_their_type(kind: type) -> None:
    inferencer = quiet(kind(config()))
    assert type(inferencer.cfg) is kind and inferencer.model.weight.item() == 3


def test_config_file_is_taken_as_text_or_path(tmp_path: Path) -> None:
    (tmp_path / "cfg.py").write_text("model = dict(type='Doubles', start=5.0)\n")
    MODELS.register_module(module=Doubles)
    try:
        for path in (str(tmp_path / "cfg.py"), tmp_path / "cfg.py"):
            assert quiet(path).model.weight.item() == 5
    finally:
        del MODELS._module_dict["Doubles"]


def test_missing_config_file_is_not_taken_for_a_model_name(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        quiet(str(tmp_path / "none.py"))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (3, ArgumentTypeError, "got int"),
        (nn.Linear(1, 1), ArgumentTypeError, "got Linear"),
        (None, ArgumentError, "Got neither"),
        ({"a": 1}, ArgumentError, "no key 'model'"),
        ("resnet", ArgumentError, "scope='mmdet'"),
    ],
)
def test_what_names_no_model_is_refused(model: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        quiet(model)


def test_weights_are_loaded(tmp_path: Path) -> None:
    assert quiet(config(), weights=weights(tmp_path))([1])["predictions"] == [7.0]


def test_model_without_weights_warns() -> None:
    with pytest.warns(UserWarning, match="random numbers"):
        quiet(config())


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(CheckpointError):
        quiet(config(), weights=str(tmp_path / "bomb.pth"))
    assert not (tmp_path / "ran").exists()


def saved_config(**more: Any) -> str:
    return Config({"model": {"type": f"{__name__}.Doubles", "start": 4.0}, **more}).pretty_text


@pytest.mark.parametrize("where", ["message_hub", "meta"])
def test_config_comes_from_the_checkpoint(tmp_path: Path, where: str) -> None:
    text = saved_config(path=Path("a"), big=float("inf"), empty=set(), pair=(1, -2))
    held = {"meta": {"meta": {"cfg": text}}, "message_hub": {"message_hub": {"runtime_info": {"cfg": text}}}}[where]
    inferencer = quiet(weights=weights(tmp_path, **held))
    assert inferencer.model.weight.item() == 7
    assert (inferencer.cfg.path, inferencer.cfg.big, inferencer.cfg.pair) == (Path("a"), float("inf"), (1, -2))


def test_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from drivetrain.checkpoint import CheckpointLoader

    path, reads = weights(tmp_path, meta={"cfg": saved_config()}), []
    load = CheckpointLoader.load_checkpoint
    monkeypatch.setattr(
        CheckpointLoader, "load_checkpoint", lambda *args, **kw: reads.append(args) or load(*args, **kw)
    )
    quiet(weights=path)
    assert len(reads) == 1


def test_checkpoint_without_a_config_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Give the config as `model`"):
        quiet(weights=weights(tmp_path))


@pytest.mark.parametrize(
    "source",
    [
        "import os", "x = __import__('os').mkdir('{0}')", "x = [open('{0}', 'w') for _ in '1']", "x = dict(**globals())",
        "x.y = 1", "print(1)", "x = (lambda: 1)()", "x = '{{{{ $NOPE:__import__(\"os\").mkdir(\"{0}\") }}}}'; y = y.z",
        "def f(): pass", "x = __import__('pathlib').Path('{0}').mkdir()", "x = f'{{y}}'", "x = (",
    ],
)  # fmt: skip
def test_config_of_a_checkpoint_is_read_and_never_run(tmp_path: Path, source: str) -> None:
    text = saved_config() + source.format(tmp_path / "ran") + "\n"
    with pytest.raises(CheckpointError, match=r"does more than assign|no Python source"):
        quiet(weights=weights(tmp_path, meta={"cfg": text}))
    assert not (tmp_path / "ran").exists()


def test_variables_in_the_config_of_a_checkpoint_stay_text(tmp_path: Path) -> None:
    text = saved_config() + "x = \"{{ $NOPE:__import__('os').mkdir('ran') }}\"\n_base_ = 'nowhere.py'\n"
    assert quiet(weights=weights(tmp_path, meta={"cfg": text})).cfg.x.startswith("{{ $NOPE")


def test_custom_imports_of_the_config_of_a_checkpoint_are_imported(tmp_path: Path) -> None:
    text = saved_config(custom_imports={"imports": ["no_such_module_anywhere"], "allow_failed_imports": False})
    with pytest.raises(ImportError, match="no_such_module_anywhere"):
        quiet(weights=weights(tmp_path, meta={"cfg": text}))


@pytest.mark.parametrize("given", [default_collate, "default_collate", {"type": "default_collate"}])
def test_collate_function_is_that_of_the_test_loader(given: Any) -> None:
    assert quiet(config(test_dataloader={"collate_fn": given})).collate_fn is default_collate


def test_collate_function_may_have_options() -> None:
    def collate(batch: Any, option: int) -> Any:
        return batch, option

    FUNCTIONS.register_module(name="collate_with_option", module=collate)
    try:
        found = quiet(config(test_dataloader={"collate_fn": {"type": "collate_with_option", "option": 3}})).collate_fn
        assert type(found) is partial and found([1]) == ([1], 3)
    finally:
        del FUNCTIONS._module_dict["collate_with_option"]
    with pytest.raises(ArgumentTypeError, match="Did you mean 'default_collate'"):
        quiet(config(test_dataloader={"collate_fn": "default_colate"}))


def test_visualizer_has_a_name_of_its_own() -> None:
    given = config(visualizer={"type": "Visualizer", "name": "drawings"})
    first, second = quiet(given).visualizer, quiet(given).visualizer
    assert type(first) is type(second) is Visualizer and first is not second
    assert first.instance_name == "drawings" and second.instance_name.startswith("drawings-")
    assert quiet(config(visualizer={"type": "Visualizer"})).visualizer is not None


def test_scope_is_that_given_or_current_or_of_the_config() -> None:
    assert quiet(config(default_scope="mmengine")).scope == "mmengine"
    assert DefaultScope.get_current_instance().scope_name == "mmengine"
    assert quiet(config(default_scope="elsewhere")).scope == "mmengine"


def test_inputs_are_a_list(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    inferencer, array = quiet(config()), np.zeros(2)
    assert inferencer._inputs_to_list(str(tmp_path)) == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert inferencer._inputs_to_list(str(tmp_path / "a.png")) == [str(tmp_path / "a.png")]
    assert inferencer._inputs_to_list("https://x/y.png") == ["https://x/y.png"]
    assert inferencer._inputs_to_list((1, 2)) == [1, 2]
    assert inferencer._inputs_to_list(array)[0] is array


def test_chunks_are_of_the_batch_size_and_lazy() -> None:
    inferencer = quiet(config())
    assert list(inferencer._get_chunk_data(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert next(inferencer._get_chunk_data(iter(int, 1), 3)) == [0, 0, 0]
    with pytest.raises(ArgumentError, match="at least 1"):
        inferencer([1], batch_size=0)


def test_progress_is_shown_when_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    Inferencer(config(), device="cpu")([1, 2])
    assert "Inference" in capsys.readouterr().out
    quiet(config())([1, 2])
    assert capsys.readouterr().out == ""


def test_subclass_can_take_over_every_part() -> None:
    class Own(Inferencer):
        def _init_model(self, cfg: Any, weights: Any, device: str = "cpu") -> Any:
            return Doubles(1.0).eval()

        def _init_collate(self, cfg: Any) -> Any:
            return lambda batch: {"inputs": [item["inputs"] + 1 for item in batch]}

        def _init_visualizer(self, cfg: Any) -> Any:
            return "visualizer"

    own = Own({}, show_progress=False)
    assert own([1])["predictions"] == [2.0] and own.visualizer == "visualizer"


def test_subclass_gets_the_checkpoint_with_what_else_it_holds(tmp_path: Path) -> None:
    class Own(Inferencer):
        def _load_weights_to_model(self, model: Any, checkpoint: Any, cfg: Any) -> None:
            super()._load_weights_to_model(model, checkpoint, cfg)
            model.dataset_meta = checkpoint["meta"]["dataset_meta"]

    path = weights(tmp_path, meta={"dataset_meta": {"classes": ["a"]}})
    assert Own(config(), path, "cpu").model.dataset_meta == {"classes": ["a"]}


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that ships two models."""
    name = f"zoo_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name / ".mim"
    (folder / "configs" / "doubles").mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (folder / "model-index.yml").write_text("Import:\n  - configs/doubles/metafile.yml\n")
    (folder / "configs" / "doubles" / "metafile.yml").write_text(
        f"Models:\n  - Name: Doubles_Three\n    Alias: [three, d3]\n    Config: configs/doubles/three.py\n"
        f"    Weights: {weights(tmp_path)}\n"
        "  - Name: doubles_bare\n    Alias: bare\n    Config: configs/doubles/three.py\n"
    )
    (folder / "configs" / "doubles" / "three.py").write_text(f"model = dict(type='{__name__}.Doubles', start=3.0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_models_are_listed_with_their_aliases(zoo: str) -> None:
    assert BaseInferencer.list_models(zoo) == ["Doubles_Three", "three", "d3", "doubles_bare", "bare"]
    assert BaseInferencer.list_models(zoo, "d") == ["d3", "doubles_bare"]
    DefaultScope.get_instance("zoo", scope_name=zoo)
    assert BaseInferencer.list_models(patterns="three") == ["three"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Doubles_Three", "doubles_three", "THREE", "d3"])
def test_model_is_found_by_name_or_alias_with_its_weights(zoo: str, name: str) -> None:
    inferencer = quiet(name, scope=zoo)
    assert inferencer.model.weight.item() == 7 and inferencer.cfg.model.start == 3


@pytest.mark.filterwarnings("ignore")
def test_given_weights_come_before_the_shipped(zoo: str, tmp_path: Path) -> None:
    path = str(tmp_path / "own.pth")
    save_checkpoint({"state_dict": {"weight": torch.tensor(9.0)}}, path)
    assert quiet("three", weights=path, scope=zoo).model.weight.item() == 9
    assert quiet("bare", scope=zoo).model.weight.item() == 3


def test_unknown_model_name_has_the_nearest(zoo: str) -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'doubles_three'"):
        quiet("doubles_thre", scope=zoo)
    with pytest.raises(MissingPackageError, match="pip install"):
        quiet("doubles", scope="no_such_package_at_all")


def test_metafiles_are_found_as_subclasses_expect(zoo: str) -> None:
    folder = BaseInferencer._get_repo_or_mim_dir(zoo)
    assert folder.endswith(".mim")
    assert [fields["Name"] for fields in BaseInferencer._get_models_from_metafile(folder)] == [
        "Doubles_Three", "doubles_bare",
    ]  # fmt: skip


def test_predictions_need_no_gradients_on_a_tensor_input() -> None:
    out: Tensor = quiet(config()).forward({"inputs": torch.ones(2)})
    assert out == [3.0, 3.0]


def test_model_index_may_list_bare_models_and_must_be_whole(zoo: str, tmp_path: Path) -> None:
    folder = tmp_path / zoo / ".mim"
    metafile = folder / "configs" / "doubles" / "metafile.yml"
    metafile.write_text("- Name: one\n  Config: configs/doubles/three.py\n")
    assert [fields["Name"] for fields in BaseInferencer._get_models_from_metafile(str(folder))] == ["one"]
    metafile.write_text("Models:\n  - Name: one\n")
    with pytest.raises(ConfigParsingError, match=r"lacks 'Config'"):
        list(BaseInferencer._get_models_from_metafile(str(folder)))
    (folder / "model-index.yml").unlink()
    with pytest.raises(MissingFileError, match=r"no model-index\.yml"):
        BaseInferencer.list_models(zoo)
