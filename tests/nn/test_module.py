"""Modules: paths, fingerprints, states, modes, sharing, and what compiled functions notice."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DTypeError, ShapeError, TraceError
from thalweg.tensor.context import structure_epoch


class Tower(nn.Module):
    """Layers in a list, a dict and a tuple, a tied weight, a constant."""

    def __init__(self) -> None:
        self.scale = 2.0
        self.blocks = [nn.Linear(3, 3), nn.Linear(3, 3)]
        self.heads = {"a": nn.Linear(3, 2), "b": [nn.Linear(3, 2)]}
        self.pair = (nn.ReLU(), nn.Dropout(0.5))
        self.tied = self.blocks[0].weight

    def forward(self, x: Any) -> tw.Tensor:
        """Run all of it."""
        for block in self.blocks:
            x = self.pair[0](block(x))
        return self.heads["a"](x) * self.scale + x @ self.tied[:, :2]


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), seed=0)


def test_paths_are_in_order_of_definition_and_shared_tensors_appear_once() -> None:
    model = Tower()
    assert list(model.parameters()) == [
        "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias",
        "heads.a.weight", "heads.a.bias", "heads.b.0.weight", "heads.b.0.bias",
    ]  # fmt: skip
    assert list(model.buffers()) == ["pair.1.key", "pair.1.count"]
    assert list(model.children()) == [
        "blocks.0", "blocks.1", "heads.a", "heads.b.0", "pair.0", "pair.1"
    ]
    assert model.count_parameters() == 2 * 12 + 2 * 8
    twin = model.copy()
    assert twin.tied is twin.blocks[0].weight
    assert twin.tied is not model.tied


def test_gradients_of_tied_weights_add_up() -> None:
    model = Tower()
    grads = tw.grad(lambda m, x: m(x).sum())(model, tw.ones((1, 3)))
    assert set(grads) == set(model.parameters())
    x = tw.ones((5, 3))
    np.testing.assert_allclose(tw.compile(model)(x).numpy(), model(x).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "scale", 3.0),
        lambda m: m.blocks.append(nn.Linear(3, 3)),
        lambda m: m.blocks.pop(),
        lambda m: m.blocks.reverse(),
        lambda m: m.blocks.__setitem__(0, nn.Linear(3, 3)),
        lambda m: m.blocks.extend([nn.Linear(3, 3)]),
        lambda m: m.blocks.__delitem__(1),
        lambda m: m.blocks.insert(0, nn.Linear(3, 3)),
        lambda m: m.heads.update(a=nn.Linear(3, 2)),
        lambda m: m.heads["b"].append(nn.Linear(3, 2)),
        lambda m: m.heads.pop("b"),
        lambda m: setattr(m.pair[1], "p", 0.1),
        lambda m: m.eval(),
        lambda m: setattr(m.blocks[0].bias, "trainable", False),
        lambda m: m.blocks[0].freeze(),
        lambda m: setattr(m.blocks[0], "bias", None),
        lambda m: delattr(m, "scale"),
        lambda m: m.astype("float64"),
        lambda m: setattr(m, "tied", nn.Parameter.of(np.ones((3, 3), np.float32))),
    ],
)
def test_every_change_moves_epoch_and_fingerprint(change: Any) -> None:
    model = Tower()
    before, epoch = model.fingerprint(), structure_epoch.count
    assert model.fingerprint() == before
    hash(before)
    change(model)
    assert structure_epoch.count > epoch
    assert model.fingerprint() != before


def test_values_and_identical_attributes_do_not_change_the_fingerprint() -> None:
    model = Tower()
    before, epoch = model.fingerprint(), structure_epoch.count
    model.tied.assign(model.tied * 2)
    model.scale = model.scale
    model.train()
    assert structure_epoch.count == epoch
    model(tw.ones((1, 3)))
    assert model.fingerprint() == before
    number, same = nn.Dropout(1), nn.Dropout(1.0)
    assert number.fingerprint()[2:3] != same.fingerprint()[2:3]  # 1 == 1.0, but not for programs


def test_cycles_end() -> None:
    model = Tower()
    model.parent = model
    assert model.fingerprint() == model.fingerprint()
    assert model.count_parameters() == 40
    assert "Tower" in repr(model)


def test_compiled_functions_notice_attributes() -> None:
    dropout = nn.Dropout(0.5).reset_parameters(0)
    compiled = tw.compile(lambda x: dropout(x))
    x = np.ones(1000, np.float32)
    assert set(compiled(x).tolist()) == {0.0, 2.0}
    dropout.p = 0.75
    assert set(compiled(x).tolist()) == {0.0, 4.0}
    dropout.eval()
    assert set(compiled(x).tolist()) == {1.0}
    dropout.train()
    dropout.p = 0.5
    assert set(compiled(x).tolist()) == {0.0, 2.0}
    assert sum(map(len, compiled._traces.values())) == 3  # the first program was kept


def test_attributes_of_a_module_argument_are_noticed_without_a_call() -> None:
    model = Tower()
    compiled = tw.compile(lambda m, x: x * m.scale)
    assert compiled(model, tw.ones(())).item() == 2
    model.scale = 5.0
    assert compiled(model, tw.ones(())).item() == 5


def test_frozen_parameters_get_no_gradient_and_thaw_compiled() -> None:
    model = small()
    grads = tw.compile(lambda m, x: tw.grad(lambda m, x: m(x).sum())(m, x))
    x = tw.ones((1, 4))
    assert list(grads(model, x)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    model[0].freeze()
    assert list(grads(model, x)) == ["2.weight", "2.bias"]
    assert list(model.trainable_parameters()) == ["2.weight", "2.bias"]
    assert model.count_parameters(trainable_only=True) == 8
    assert model.copy().count_parameters(trainable_only=True) == 8
    model.unfreeze()
    assert len(grads(model, x)) == 4


def test_training_step_moves_parameters_and_buffers() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1),
                          nn.Linear(8, 3), seed=1)  # fmt: skip
    source = np.random.default_rng(0)
    x, y = source.standard_normal((16, 4)).astype(np.float32), source.integers(0, 3, 16)

    def step(m: nn.Module, x: Any, y: Any) -> tw.Tensor:
        loss, grads = tw.value_and_grad(
            lambda m, x, y: nn.losses.cross_entropy(m(x), y)
        )(m, x, y)
        for path, parameter in m.trainable_parameters().items():
            parameter.assign(parameter - 0.1 * grads[path])
        return loss

    twin = model.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = tw.compile(step)
        one = [float(compiled(model, x, y)) for _ in range(20)]
        two = [float(step(twin, x, y)) for _ in range(20)]
    np.testing.assert_allclose(one, two, rtol=1e-5)
    assert one[-1] < one[0] * 0.8
    assert model[3].count.item() == 20
    assert sum(map(len, compiled._traces.values())) == 1
    for path, value in model.state_dict().items():
        np.testing.assert_allclose(value, twin.state_dict()[path], rtol=1e-4, atol=1e-5)


def test_loading_is_all_or_nothing() -> None:
    model, other = small(), small().reset_parameters(5)
    before = model.state_dict()
    good = other.state_dict()
    for bad, error, text in (
        ({k: v for k, v in good.items() if k != "2.bias"}, ArgumentError, "Missing: 2.bias"),
        (good | {"2.wieght": 1}, ArgumentError, "did you mean '2.weight'"),
        (good | {"2.weight": good["2.weight"].T}, ShapeError, "transposed"),
        (good | {"2.bias": np.ones(3, np.float32)}, ShapeError, "2.bias"),
        (good | {"2.bias": np.ones(2, np.int64)}, DTypeError, "2.bias"),
    ):
        with pytest.raises(error, match=text):
            model.load_state_dict(bad)
        for path, value in model.state_dict().items():
            np.testing.assert_array_equal(value, before[path])
    assert model.load_state_dict({"0.bias": np.ones(3), "x": 1}, strict=False) == (
        ["0.weight", "2.weight", "2.bias"], ["x"]
    )  # fmt: skip
    assert model[0].bias.tolist() == [1, 1, 1]


def test_state_dict_is_a_copy_and_loading_reaches_compiled_functions() -> None:
    model = small()
    compiled = tw.compile(lambda x: model(x))
    x = tw.ones((1, 4))
    first = compiled(x).numpy()
    state = model.state_dict()
    state["2.bias"] += 1
    np.testing.assert_array_equal(compiled(x).numpy(), first)
    model.load_state_dict(state)
    np.testing.assert_allclose(compiled(x).numpy(), first + 1, rtol=1e-6)


def test_sequential() -> None:
    model = small()
    assert len(model) == 3
    assert model[-1] is model.layers[2]
    assert list(model) == model.layers
    part = model[:2]
    assert isinstance(part, nn.Sequential)
    assert part[0] is model[0]
    assert model.append(nn.Tanh()) is model
    assert len(model) == 4
    model[1] = nn.Sigmoid()
    assert isinstance(model.layers[1], nn.Sigmoid)
    with pytest.raises(IndexError):
        model[4]
    with pytest.raises(ArgumentError, match=r"make an object of it: ReLU\(...\)"):
        nn.Sequential(nn.Linear(2, 2), nn.ReLU)  # type: ignore[arg-type]


def test_seed_makes_models_equal_and_never_destroys_used_layers() -> None:
    a, b = small(), small()
    for path, value in a.state_dict().items():
        np.testing.assert_array_equal(value, b.state_dict()[path])
    a(tw.ones((1, 4)))
    with pytest.raises(ArgumentError, match="layer 0"):
        nn.Sequential(*a.layers, seed=0)
    loaded = nn.Linear(2, 2)
    loaded.load_state_dict({"weight": np.ones((2, 2)), "bias": np.ones(2)})
    with pytest.raises(ArgumentError, match="loaded"):
        nn.Sequential(loaded, seed=0)
    assert nn.Sequential(loaded, nn.ReLU())[0].weight.tolist() == [[1, 1], [1, 1]]


def test_initial_weights_suit_the_activation_that_follows() -> None:
    def spread(*after: nn.Module) -> float:
        return float(nn.Sequential(nn.Linear(400, 100), *after)[0].weight.numpy().std())

    he, lecun, glorot = (2 / 400) ** 0.5, (1 / 400) ** 0.5, (2 / 500) ** 0.5
    for wanted, after in (
        (he, [nn.ReLU()]), (he, [nn.BatchNorm1d(100), nn.Dropout(0.1), nn.GELU()]),
        (lecun, [nn.SELU()]), (glorot, [nn.Tanh()]), (glorot, []), (glorot, [nn.Linear(100, 2)]),
    ):  # fmt: skip
        assert abs(spread(*after) / wanted - 1) < 0.02
    chosen = nn.Linear(4, 4, weight_init="zeros")
    assert not nn.Sequential(chosen, nn.ReLU(), seed=0)[0].weight.numpy().any()
    assert abs(nn.Linear(400, 100, activation_hint="relu").weight.numpy().std() / he - 1) < 0.02


def test_layers_draw_from_the_default_generator() -> None:
    tw.random.seed(4)
    one = nn.Linear(3, 3), nn.Linear(3, 3)
    tw.random.seed(4)
    two = nn.Linear(3, 3)
    assert (one[0].weight == two.weight).all()
    assert not (one[0].weight == one[1].weight).all()
    with pytest.raises(TraceError, match="outside"):
        tw.compile(lambda x: nn.Linear(3, 3)(x))(tw.ones((1, 3)))


def test_scopes_name_layers_and_end_with_the_call() -> None:
    from thalweg.graph.node import scopes

    model = small()
    assert "# Sequential.2" in tw.compile(lambda x: model(x)).explain(tw.ones((1, 4)))
    with pytest.raises(ShapeError, match=r"Linear \(layer Sequential.0\)"):
        model(tw.ones((1, 5)))
    assert list(scopes) == []
    with tw.debug_nans(), pytest.raises(ArithmeticError, match=r"Sequential\.0"):
        model(tw.full((1, 4), float("nan")))


def test_repr_is_a_tree() -> None:
    assert repr(nn.Sequential(nn.Linear(2, 3, bias=False), nn.Sequential(nn.LeakyReLU()))) == (
        "Sequential(\n"
        "  0: Linear(in_features=2, out_features=3, bias=False)\n"
        "  1: Sequential(\n"
        "    0: LeakyReLU(negative_slope=0.01)\n"
        "  )\n"
        ")"
    )


def test_module_without_forward_says_so() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(ArgumentError, match="Empty defines no forward"):
        Empty()(1)


def test_summary() -> None:
    model = nn.Sequential(nn.Linear(784, 30), nn.Sigmoid(), nn.Linear(30, 10)).freeze()
    model[2].unfreeze()
    before = model.state_dict()
    summary = model.summary((784,))
    assert (summary.parameters, summary.trainable) == (784 * 30 + 30 + 310, 310)
    assert summary.flops == 2 * 784 * 30 + 30 + 30 + 2 * 30 * 10 + 10
    assert summary.rows[0].output_shape == (1, 30)
    assert summary.rows[0].layer == "0"
    text = str(summary)
    assert "(N, 30)" in text
    assert "23,860" in text
    assert "310 trainable" in text
    example = model.summary(np.zeros((7, 784), np.float32))
    assert example.batch == 7
    assert example.flops == 7 * summary.flops
    assert "(7, 30)" in str(example)
    assert model.training
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])
    assert nn.Embedding(10, 4).summary((6,), dtype="int64").rows[0].output_shape == (1, 6, 4)
    assert nn.Bilinear(3, 4, 2).summary([(3,), (4,)]).parameters == 26
    shared = nn.Linear(4, 4)
    assert nn.Sequential(shared, shared).summary((4,)).parameters == 20
    with pytest.raises(ArgumentError, match="shape of one input"):
        model.summary("x")
