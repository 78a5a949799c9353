"""`drivetrain verify-resume`: runs that resume exactly pass, and the culprit of those that do not is named."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from drivetrain.cli import main
from drivetrain.cli.verify._cause import cause_of, sample_at_fault
from drivetrain.cli.verify._digest import leaves, of_attributes, of_tensor, rows
from drivetrain.cli.verify._entropy import EntropyTrace
from drivetrain.cli.verify._examine import seen_of
from drivetrain.cli.verify._plan import kind_of
from drivetrain.cli.verify._record import Difference, Record, first_difference
from drivetrain.errors import ArgumentError, MissingFileError

EXAMPLES = Path(__file__).parents[2] / "examples" / "verify_resume"
FIELDS = (
    "samples",
    "batch",
    "outputs",
    "weights",
    "averages",
    "optimizer",
    "settings",
    "random",
    "attributes",
    "hooks",
)


def row(step: int, **changes: Any) -> dict[str, Any]:
    return {"step": step, "indices": [7, 8], "rows": {}, "values": {}, **{name: {} for name in FIELDS}, **changes}


def difference(start: int = 1, **changes: tuple[Any, Any]) -> Difference:
    expected, found = ({name: pair[side] for name, pair in changes.items()} for side in (0, 1))
    return Difference(6, start, 5, row(6, **expected), row(6, **found))


def told(found: Difference, *seen: Any) -> str:
    return " ".join(cause_of(found, lambda index: seen))


class Plain(Dataset[Any]):
    """Draws from the global generators alone."""

    def __init__(self, transform: Any = None) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        value = torch.full((3,), float(index)) + torch.rand(3) + random.random() + float(np.random.rand())
        return value if self.transform is None else self.transform(value)


class OwnGenerator:
    def __init__(self, seed: int | None) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, value: Any) -> Any:
        return value + self.generator.random()


def fresh_noise(value: Any) -> Any:
    return value + float(np.random.default_rng().random())


def by_the_clock(value: Any) -> Any:
    return value + time.time() % 1


# What the examination of a sample finds.


def test_a_sample_of_global_draws_is_the_same_each_time_and_changes_nothing():
    seen = seen_of(Plain(lambda value: value * 2), 1)
    assert seen["first"] == seen["second"] and seen["changed"] == [] and seen["drawn"] == []
    assert [stage["name"] for stage in seen["first"]] == ["<lambda>", ""]


def test_an_unseeded_draw_is_found_with_its_line():
    one, other = seen_of(Plain(fresh_noise), 1), seen_of(Plain(fresh_noise), 1)
    text = told(difference(batch=({"": "a"}, {"": "b"}), rows=({"": ["1", "2"]}, {"": ["1", "3"]})), one, other)
    assert "Sample 1 of Plain" not in text  # its number is that of the batch
    assert "in the transform fresh_noise" in text and "no seed governs" in text
    assert "test_cli_verify_resume.py" in text and "np.random.default_rng().random()" in text


@pytest.mark.parametrize("seed", [3, None])
def test_a_generator_of_its_own_is_named_seeded_or_not(seed):
    one, other = seen_of(Plain(OwnGenerator(seed)), 1), seen_of(Plain(OwnGenerator(seed)), 1)
    text = told(difference(batch=({"": "a"}, {"": "b"}), rows=({"": ["1", "2"]}, {"": ["4", "2"]})), one, other)
    assert "Sample 7 of Plain" in text and "the transform OwnGenerator" in text
    assert "Plain.transform.generator" in text
    assert ("depends on what was fetched before it" in text) == (seed is not None)


def test_a_dataset_that_counts_is_named_with_its_counter():
    class Counting(Plain):
        fetched = 0

        def __getitem__(self, index: int) -> Any:
            self.fetched += 1
            return super().__getitem__(index) * self.fetched

    text = told(
        difference(batch=({"": "a"}, {"": "b"}), rows=({"": ["1", "2"]}, {"": ["4", "2"]})),
        seen_of(Counting(), 7 % 4),
        seen_of(Counting(), 7 % 4),
    )
    assert "Counting.__getitem__" in text and "another after every fetch: Counting.fetched" in text


def test_the_transforms_are_back_in_their_place_after_the_examination():
    dataset = Plain(fresh_noise)
    seen_of(dataset, 0)
    assert dataset.transform is fresh_noise


@pytest.mark.parametrize(
    ("draw", "what"),
    [
        (lambda: random.SystemRandom().random(), "random bits of the system"),
        (lambda: random.Random(None), "a seed from the system"),
        (lambda: torch.Generator().seed(), "a seed from the system"),
        (lambda: np.random.RandomState(), "random bits of the system"),
        (time.time_ns, "the time"),
    ],
)
def test_what_is_asked_of_the_system_is_noticed(draw, what):
    with EntropyTrace() as trace:
        draw()
    assert [asked for asked, place in trace.found if "test_cli_verify_resume" in place][:1] == [what]


def test_global_generators_are_no_questions_to_the_system():
    with EntropyTrace() as trace:
        torch.rand(2), np.random.rand(2), random.random(), random.shuffle([1, 2])
    assert trace.found == {}


# What is compared, and what is said of it.


@pytest.mark.parametrize("value", [{"a": [torch.ones(2)], "b": ("x", 3)}, [np.ones(2), None], torch.tensor(1.0)])
def test_equal_nests_have_equal_checksums_and_others_do_not(value):
    assert list(leaves(value)) == list(leaves(value))
    assert of_tensor(torch.zeros(2)) != of_tensor(torch.zeros(2, dtype=torch.int32)) != of_tensor(torch.zeros(1, 2))
    assert of_tensor(torch.tensor([0.0])) != of_tensor(torch.tensor([-0.0]))


def test_the_sample_at_fault_is_found_in_stacked_and_in_listed_batches():
    for first, second in (
        (torch.zeros(2, 3), torch.tensor([[0.0] * 3, [1.0] * 3])),
        ([torch.zeros(2), torch.zeros(3)], [torch.zeros(2), torch.ones(3)]),
    ):
        batches = rows({"inputs": first}, 2), rows({"inputs": second}, 2)
        assert sample_at_fault(difference(rows=batches)) == 8


def test_what_a_module_keeps_beside_its_state_dict_is_named():
    class Counts(nn.Module):
        def __init__(self, calls: int) -> None:
            super().__init__()
            self.calls, self.part = calls, nn.Linear(1, 1)
            self.register_buffer("cache", torch.ones(1), persistent=False)

    first, second = of_attributes(Counts(4)), of_attributes(Counts(2))
    assert first["calls"] == "4" and "cache" in first and not any("weight" in name for name in first)
    text = told(difference(outputs=({"loss": "a"}, {"loss": "b"}), attributes=(first, second)))
    assert "in the model, calls: 2 instead of 4" in text and "register_buffer" in text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (difference(samples=({"order": "a"}, {"order": "b"})), "sampler gives other samples"),
        (difference(batch=({"x": "a"}, {"x": "b"})), "which sample it is cannot be told"),
        (difference(outputs=({"loss": "a"}, {"loss": "b"})), "first in: outputs"),
        (difference(0, weights=({"w": "a"}, {"w": "b"})), "deterministic=True"),
        (difference(settings=({"0.lr": "1"}, {"0.lr": "2"})), "other settings: 0.lr"),
        (difference(random=({"torch": "1"}, {"torch": "2"})), "torch stands elsewhere"),
        (
            difference(weights=({"w": "a"}, {"w": "b"}), hooks=({"Warm.seen": "9"}, {"Warm.seen": "1"})),
            "in the hook Warm.seen: 1 instead of 9",
        ),
    ],
)
def test_each_kind_of_difference_has_its_cause(found, words):
    assert words in told(found)


def test_the_first_difference_is_that_of_the_first_start_at_the_earliest_step():
    whole = Record(rows={step: row(step) for step in range(1, 9)})
    good = Record(rows={step: row(step) for step in range(1, 5)})
    bad = Record(begun_at=2, rows={step: row(step, outputs={"loss": "x"} if step > 3 else {}) for step in range(3, 9)})
    assert first_difference(whole, [good]) is None
    found = first_difference(whole, [good, bad])
    assert (found.step, found.start, found.begun_at, found.fields) == (4, 1, 2, ["outputs"])


def test_a_line_that_a_kill_has_cut_off_is_left_out(tmp_path):
    file = tmp_path / "steps.jsonl"
    file.write_text('{"steps": 9, "from": 2}\n{"step": 3, "batch": {}}\n{"step": 4, "ba')
    record = Record.read(file)
    assert (record.steps, record.begun_at, list(record.rows), record.ended) == (9, 2, [3], False)


# The command.


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("model = dict(type='Net')\nlr = 0.1\n", "config"),
        ("from net import run\nrun()\n", "script"),
        ("def main():\n    pass\n\nif __name__ == '__main__':\n    main()\n", "script"),
    ],
)
def test_a_script_is_told_from_a_config(tmp_path, text, kind):
    file = tmp_path / "file.py"
    file.write_text('"""What it is."""\n' + text)
    assert kind_of(str(file)) == kind


def test_a_wrong_target_or_count_is_refused_before_anything_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("x = 1\n")
    with pytest.raises(MissingFileError, match=r"no file 'tran.py'. Did you mean 'train.py'\?"):
        kind_of("tran.py")
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(ArgumentError, match="neither a script"):
        kind_of("notes.md")
    for arguments, message in [
        (["train.py", "--kills", "0"], "--kills must be at least 1"),
        (["train.py", "--", "--lr", "1"], "is a config and takes no arguments"),
        (["demo", "--cfg-options", "a=1"], "--cfg-options is for configs"),
        (["train.py", "--keep", "."], "the folder is not empty"),
    ]:
        assert main(["verify-resume", *arguments]) == 1
        assert message in capsys.readouterr().err


def test_a_run_that_fails_shows_the_end_of_what_it_said(tmp_path, capsys):
    script = tmp_path / "train.py"
    script.write_text("print('so far')\ndef main():\n    raise ValueError('no data here')\nmain()\n")
    assert main(["verify-resume", str(script)]) == 1
    text = capsys.readouterr().err
    assert "exit code 1" in text and "| ValueError: no data here" in text and "--keep DIR" in text


def test_a_script_that_trains_nothing_is_told_so(tmp_path, capsys):
    script = tmp_path / "train.py"
    script.write_text("print('hello')\n")
    assert main(["verify-resume", str(script)]) == 1
    assert "without a training step of a Runner" in capsys.readouterr().err


@pytest.mark.system
def test_a_stateful_dataset_is_named_and_its_mended_form_passes(capsys, tmp_path):
    script = str(EXAMPLES / "stateful_dataset.py")
    assert main(["verify-resume", script, "--kills", "1", "--steps", "12", "--interval", "3"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "made after the resume behind step" in text
    assert "Points.__getitem__" in text and "another after every fetch: Points.fetched" in text
    kept = tmp_path / "kept"
    options = ["--kills", "1", "--steps", "12", "--interval", "3", "--keep", str(kept)]
    assert main(["verify-resume", script, *options, "--", "--mended"]) == 0
    assert "Equal, bit by bit" in capsys.readouterr().out
    assert main(["verify-resume", script, "--kills", "1", "--steps", "4"]) == 1
    assert "nothing to resume from" in capsys.readouterr().err
    assert (kept / "cut" / "iter_12.pth").exists() and not Path("work_dirs/stateful_dataset").exists()


@pytest.mark.slow
@pytest.mark.system
def test_an_unseeded_transform_in_workers_is_named_with_its_line_and_its_mended_form_passes(capsys):
    script = str(EXAMPLES / "unseeded_transform.py")
    assert main(["verify-resume", script]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "before any kill" in text and "the transform Noise (number 0 of the pipeline)" in text
    assert "generator = np.random.default_rng()" in text
    assert main(["verify-resume", script, "--", "--mended"]) == 0


@pytest.mark.slow
@pytest.mark.system
def test_the_demo_resumes_exactly(capsys):
    assert main(["verify-resume", "demo", "--kills", "3"]) == 0
    assert "Equal, bit by bit" in capsys.readouterr().out
