from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentTypeError, MissingAttributeError, NotFoundError, NotSupportedError
from drivetrain.optim import LinearLR, OptimWrapper, OptimWrapperDict


def generator() -> OptimWrapper:
    return OptimWrapper(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.5))


def pair() -> OptimWrapperDict:
    groups = [{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}]
    return OptimWrapperDict(gen=generator(), dis=OptimWrapper(torch.optim.SGD(groups, lr=0.2)))


def test_it_reads_like_a_dict_of_wrappers() -> None:
    wrappers = pair()
    assert len(wrappers) == 2 and list(wrappers.keys()) == ["gen", "dis"] and "gen" in wrappers
    assert wrappers["gen"] is next(iter(wrappers.values())) is dict(wrappers.items())["gen"]
    assert {name: len(groups) for name, groups in wrappers.param_groups.items()} == {"gen": 1, "dis": 3}


def test_rates_and_momenta_carry_the_name_in_front() -> None:
    assert pair().get_lr() == {"gen.lr": [0.1], "dis.base_lr": [0.2], "dis.lr": [0.2, 0.2]}
    assert pair().get_momentum() == {"gen.momentum": [0.5], "dis.momentum": [0, 0]}


@pytest.mark.parametrize("method", ["update_params", "backward", "optim_context", "step"])
def test_what_belongs_to_one_optimizer_is_refused_with_the_way_to_do_it(method: str) -> None:
    arguments = () if method == "step" else (torch.ones(()),)
    with pytest.raises(NotSupportedError, match=rf"optim_wrapper\['gen'\].{method}") as caught:
        getattr(pair(), method)(*arguments)
    assert isinstance(caught.value, NotImplementedError)


def test_zero_grad_reaches_all() -> None:
    wrappers = pair()
    parameters = [p for wrapper in wrappers.values() for g in wrapper.optimizer.param_groups for p in g["params"]]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    wrappers.zero_grad()
    assert all(parameter.grad is None for parameter in parameters)


def test_states_go_by_name_and_must_match() -> None:
    wrappers, others = pair(), pair()
    wrappers["gen"].optimizer.param_groups[0]["lr"] = 0.7
    others.load_state_dict(wrappers.state_dict())
    assert others.get_lr()["gen.lr"] == [0.7]
    with pytest.raises(NotFoundError, match=r"optimizers \['gen'\], and these are \['gen', 'dis'\]"):
        others.load_state_dict({"gen": wrappers["gen"].state_dict()})


def test_an_attribute_of_a_single_wrapper_points_to_the_members() -> None:
    with pytest.raises(MissingAttributeError, match=r"holds the optimizers \['gen', 'dis'\]"):
        _ = pair().inner_count
    assert not hasattr(pair(), "optimizer")


def test_unknown_names_and_wrong_members_are_refused() -> None:
    with pytest.raises(NotFoundError, match=r"no optimizer 'geb'.*Did you mean 'gen'"):
        pair()["geb"]
    with pytest.raises(ArgumentTypeError, match="'gen' is a int: 3"):
        OptimWrapperDict(gen=3)  # type: ignore[arg-type]


def test_a_schedule_steers_one_of_them() -> None:
    with pytest.raises(ArgumentTypeError, match=r"holds \['gen', 'dis'\]: build one schedule for each"):
        LinearLR(pair(), end=5)


def test_counts_are_left_to_the_model_and_repr_shows_all() -> None:
    wrappers = pair()
    wrappers.initialize_count_status(nn.Identity(), 0, 10)
    assert wrappers["gen"]._max_counts == -1
    assert repr(wrappers).count("Type: OptimWrapper") == 2 and "name: dis" in repr(wrappers)
