"""What every architecture must fulfil; architectures are found in the registry."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn, trees
from thalweg.errors import ArgumentError, FormatError, ShapeError
from thalweg.formats import write_tensors
from thalweg.models import Architecture, registry
from thalweg.nn import losses, summary

Array = np.ndarray[Any, Any]
ARCHITECTURES = tw.models.list()
each = pytest.mark.parametrize("told", ARCHITECTURES, ids=[a.name for a in ARCHITECTURES])
LARGEST = 200_000_000  # parameters that a test may hold; test_transformers.py counts deeper models


def kind_of(told: Architecture) -> Any:
    """Return the class that makes a model, or the function."""
    return told.build.func if isinstance(told.build, partial) else told.build


def smallest_of_each_kind() -> list[Architecture]:
    found: dict[Any, Architecture] = {}
    for told in sorted(ARCHITECTURES, key=lambda a: a.parameters):
        block = told.build.args[:1] if isinstance(told.build, partial) else ()
        found.setdefault((kind_of(told), *(b for b in block if isinstance(b, str))), told)
    return list(found.values())


# One of each class and block: the others differ in depth only, and compiling takes time.
FIRST = smallest_of_each_kind()
each_kind = pytest.mark.parametrize("told", FIRST, ids=[a.name for a in FIRST])


def small(told: Architecture, seed: int = 0) -> nn.Module:
    return tw.models.create(told.name, seed=seed, **told.small)


def examples(told: Architecture, batch: int = 4) -> list[Array]:
    source = np.random.default_rng(5)
    if told.dtype == "int64":
        return [source.integers(0, 20, (batch, *s)) for s in told.small_inputs]
    return [source.random((batch, *s)).astype(np.float32) for s in told.small_inputs]


def tensors(outputs: Any) -> list[tw.Tensor]:
    return [t for t in trees.flatten(outputs)[0] if isinstance(t, tw.Tensor)]


MODULES = sorted(m.name for m in pkgutil.iter_modules(tw.models.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"thalweg.models.{name}"))
    assert failed == 0


# --- the registry -------------------------------------------------------------------------------


@each
def test_entries_are_complete(told: Architecture) -> None:
    assert re.search(r"\((19|20)\d\d\)", told.paper), told.paper
    doc = inspect.getdoc(kind_of(told)) or ""
    assert ">>>" in doc
    assert told.small_inputs
    assert tw.models.get(told.name) is told


def test_list_has_all_that_the_literature_calls_classic() -> None:
    names = [a.name for a in ARCHITECTURES]
    assert names == sorted(names)
    assert {"perceptron", "mlp", "lenet5", "alexnet", "vgg11", "vgg13", "vgg16", "vgg19",
            "vgg16_bn", "resnet18", "resnet34", "resnet50", "resnet101", "resnet20", "resnet56",
            "resnet18_cifar", "unet", "mobilenet_v2", "autoencoder", "denoising_autoencoder",
            "sparse_autoencoder", "convolutional_autoencoder", "variational_autoencoder",
            "dcgan28_generator", "dcgan64_discriminator"} <= set(names)  # fmt: skip


def test_mistakes_are_told_with_the_nearest_names() -> None:
    with pytest.raises(ArgumentError, match=r"did you mean .*'resnet50'"):
        tw.models.create("resnet5O")
    with pytest.raises(ArgumentError, match=r"no option 'clases'; did you mean 'classes'.*test_mo"):
        tw.models.create("lenet5", clases=3)
    entry = partial(tw.models.register, paper="x", parameters=1, flops=1, inputs=((1,),))
    with pytest.raises(ArgumentError, match="already"):
        entry("lenet5")
    with pytest.raises(ArgumentError, match="lower case"):
        entry("LeNet 5")
    assert "LeNet 5" not in registry._TABLE


@each
def test_counts_are_the_published_ones(told: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    if told.parameters > LARGEST:
        pytest.skip("too large to hold: counted from its equal layers in test_transformers.py")
    monkeypatch.setattr(nn.Module, "reset_parameters", lambda self, key=None: self)
    model = told.build()
    assert model.count_parameters() == told.parameters
    if told.dtype != "float32":
        return
    whole = summary._flops
    monkeypatch.setattr(
        summary, "_flops",
        lambda node: whole(node) if node.op.kind in ("contraction", "loop") else 0,
    )  # fmt: skip
    flops = model.summary(list(told.inputs) if len(told.inputs) > 1 else told.inputs[0]).flops
    assert flops == pytest.approx(told.flops, rel=0.02)  # attention counts its softmax or not


PUBLISHED = {
    "lenet5": 61_706, "alexnet": 61_100_840, "vgg11": 132_863_336, "vgg13": 133_047_848,
    "vgg16": 138_357_544, "vgg19": 143_667_240, "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248, "resnet18": 11_689_512,
    "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "mobilenet_v2": 3_504_872, "dcgan64_generator": 3_576_704,
    "dcgan64_discriminator": 2_765_568, "mlp": 266_610,
}  # fmt: skip


def test_registered_counts_are_those_of_torchvision_and_the_papers() -> None:
    for name, count in PUBLISHED.items():
        assert tw.models.get(name).parameters == count
    assert round(tw.models.get("resnet20").parameters / 1e6, 2) == 0.27
    assert round(tw.models.get("resnet56").parameters / 1e6, 2) == 0.85
    # Table 1 of arXiv:1512.03385 counts multiply-adds, without the shortcuts' projections.
    for name, billions in {"resnet18": 1.8, "resnet34": 3.6, "resnet101": 7.6}.items():
        assert tw.models.get(name).flops / 2e9 == pytest.approx(billions, rel=0.04)
    assert tw.models.get("mobilenet_v2").flops / 2e6 == pytest.approx(300, rel=0.01)


# --- the models ---------------------------------------------------------------------------------


@each
def test_small_variant_runs_and_examples_do_not_mix(told: Architecture) -> None:
    model, inputs = small(told).eval(), examples(told)
    outputs = tensors(model(*inputs))
    order = np.array([2, 0, 3, 1])
    turned = tensors(model(*[x[order] for x in inputs]))
    for y, z in zip(outputs, turned, strict=True):
        assert y.shape[0] == len(inputs[0])
        assert np.isfinite(y.numpy()).all()
        np.testing.assert_allclose(z.numpy(), y.numpy()[order], rtol=1e-4, atol=1e-5)


@each
def test_the_seed_decides_the_initial_values(told: Architecture) -> None:
    a, b, c = (small(told, seed).state_dict() for seed in (1, 1, 2))
    for path in a:
        np.testing.assert_array_equal(a[path], b[path])
    if told.name != "perceptron":  # which starts from 0
        assert any((a[path] != c[path]).any() for path in a)


def loss_of(told: Architecture, model: nn.Module, inputs: list[Array]) -> Any:
    """Return a function of the model: the loss that belongs to its task."""
    outputs = tensors(model(*inputs))
    source = np.random.default_rng(1)
    if told.name == "sparse_autoencoder":
        return lambda m: tw.models.sparse_loss(m(*inputs), inputs[0])
    if told.name == "variational_autoencoder":
        return lambda m: tw.models.variational_loss(m(*inputs), inputs[0])
    if told.task == "reconstruction":
        return lambda m: losses.mse(m(*inputs), inputs[0])
    if told.task == "discrimination":
        real = np.array([[1.0], [0], [1], [0]], np.float32)
        return lambda m: losses.binary_cross_entropy_with_logits(m(*inputs), real)
    if told.task == "generation":
        target = np.full(outputs[0].shape, 0.5, np.float32)
        return lambda m: losses.mse(m(*inputs), target)
    labels = source.integers(0, outputs[0].shape[-1], outputs[0].shape[:-1])
    return lambda m: losses.cross_entropy(tensors(m(*inputs))[0], labels)


@each_kind
def test_compiled_steps_lower_the_loss(told: Architecture) -> None:
    if told.task == "two classes":
        pytest.skip("the perceptron is not trained by gradients; its rule has tests of its own")
    model, inputs = small(told).train(), examples(told)
    loss = loss_of(told, model.copy(), inputs)
    for module in model.named_modules().values():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # its noise would hide a single step's progress
    optimizer = tw.optim.SGD(model, learning_rate=1e-3, momentum=0.5)
    if told.task in ("generation", "reconstruction"):
        optimizer = tw.optim.Adam(model, learning_rate=1e-3)

    @tw.compile
    def step() -> Any:
        value, grads = tw.value_and_grad(loss)(model)
        optimizer.update(grads)
        return value

    values = [float(step()) for _ in range(6)]
    assert np.isfinite(values).all()
    assert min(values[1:]) < values[0]


@each
def test_a_saved_model_comes_back(told: Architecture, tmp_path: Path) -> None:
    model, inputs = small(told).eval(), examples(told, 2)
    path = tw.formats.save(model, tmp_path / "model")
    again = tw.models.load(path)
    assert type(again) is type(model)
    assert not again.training
    before, after = tensors(model(*inputs)), tensors(again(*inputs))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert again.state_dict().keys() == model.state_dict().keys()


def test_paths_are_those_of_torchvision() -> None:
    wanted = {
        "alexnet": "features.0.weight features.10.bias classifier.1.weight classifier.6.bias",
        "vgg11": "features.0.weight features.18.bias classifier.0.weight classifier.6.bias",
        "vgg16_bn": "features.1.running_var features.40.weight features.41.running_mean "
                    "classifier.3.bias",
        "resnet18": "conv1.weight bn1.running_mean layer1.0.conv1.weight layer1.1.bn2.bias "
                    "layer2.0.downsample.0.weight layer4.0.downsample.1.running_var fc.weight",
        "resnet50": "layer1.0.conv3.weight layer1.0.bn3.bias layer3.5.conv2.weight "
                    "layer1.0.downsample.0.weight fc.bias",
        "mobilenet_v2": "features.0.0.weight features.0.1.running_mean features.1.conv.0.0.weight "
                        "features.1.conv.1.weight features.1.conv.2.bias features.2.conv.3.weight "
                        "features.18.0.weight features.18.1.bias classifier.1.weight",
        "resnet20": "conv1.weight layer1.0.conv1.weight layer3.2.bn2.running_var linear.weight",
        "dcgan64_generator": "main.0.weight main.1.running_mean main.9.weight main.12.weight",
        "dcgan64_discriminator": "main.0.weight main.3.running_var main.8.weight main.11.weight",
        "mlp": "0.weight 2.bias 4.weight",
    }  # fmt: skip
    for name, paths in wanted.items():
        state = nn.to_torch(small(tw.models.get(name)))
        assert set(paths.split()) <= set(state), name
    assert nn.to_torch(tw.models.create("resnet18"))["layer2.0.downsample.0.weight"].shape == (
        128, 64, 1, 1,
    )  # fmt: skip


# --- what bad input gets ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tw.models.VGG(12), "11, 13, 16, 19"),
        (lambda: tw.models.VGG(11, width=0), "width multiplies"),
        (lambda: tw.models.ResNet("wide"), "'basic' or 'bottleneck'"),
        (lambda: tw.models.ResNet("basic", (1, 1)), "four stages"),
        (lambda: tw.models.CIFARResNet(21), "6 n \\+ 2"),
        (lambda: tw.models.CIFARResNet(20, shortcut="c"), "'padding' or 'projection'"),
        (lambda: tw.models.LeNet5(pooling="min"), "'max' or 'average'"),
        (lambda: tw.models.LeNet5(activation="rel"), "did you mean"),
        (lambda: tw.models.MLP(0), "whole number from 1"),
        (lambda: tw.models.ConvAutoencoder(30), "divisible by 4"),
        (lambda: tw.models.DenoisingAutoencoder(4, (3,), 2, noise=2, kind="mask"), "probability"),
        (lambda: tw.models.DCGANGenerator(48), "28, 32, 64"),
        (lambda: tw.models.MobileNetV2(width=-1), "width must be above 0"),
        (lambda: tw.models.Perceptron(2, learning_rate=0), "learning_rate"),
    ],
)
def test_wrong_arguments(make: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        make()
    assert "test_models.py" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (lambda: tw.models.LeNet5(), (2, 1, 28, 28), "channels-first"),
        (lambda: tw.models.LeNet5(), (2, 32, 32, 1), "scale or pad"),
        (lambda: tw.models.LeNet5(), (2, 28, 28, 3), "images of 3 channels"),
        (lambda: tw.models.CIFARResNet(8), (2, 3, 32, 32), "divisible by 4"),
        (lambda: tw.models.UNet(width=1), (1, 500, 572, 1), "492 or 508"),
        (lambda: tw.models.UNet(width=1), (572, 572, 1), "add the axes"),
        (lambda: tw.models.ResNet(width=4), (2, 3, 32, 32), "channels"),
        (lambda: tw.models.DCGANGenerator(28, width=2), (2, 7), "tw.random.normal"),
        (lambda: tw.models.DCGANDiscriminator(28, 3, width=2), (2, 3, 28, 28), "channels-first"),
        (lambda: tw.models.Perceptron(3), (2, 4), "wanted \\(count, 3\\)"),
        (lambda: tw.models.Autoencoder(12, (4,), 2), (2, 13), "wanted \\(..., 12\\)"),
    ],
)
def test_wrong_images(model: Any, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        model()(np.zeros(shape, np.float32))


def test_unet_has_the_sizes_of_the_paper() -> None:
    model = tw.models.UNet(width=1)
    assert model.sizes(572) == [568, 280, 136, 64, 28, 52, 100, 196, 388]
    assert model(np.zeros((1, 188, 204, 1), np.float32)).shape == (1, 4, 20, 2)
    same = tw.models.UNet(width=1, padded=True, batch_norm=True)
    assert same(np.zeros((2, 32, 48, 1), np.float32)).shape == (2, 32, 48, 2)


# --- weights from files -------------------------------------------------------------------------


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    model = tw.models.create("mlp", seed=0, inputs=4, hidden=(3,), classes=2)
    before = model.state_dict()
    state = nn.to_torch(model)
    write_tensors(tmp_path / "other.safetensors", {**state, "2.weight": np.zeros((5, 3))})
    write_tensors(tmp_path / "less.safetensors", {"0.weight": state["0.weight"]})
    for name in ("other", "less"):
        with pytest.raises(FormatError, match=f"{name}.safetensors.*does not fit MLP"):
            tw.models.load_weights_of_torch(model, tmp_path / f"{name}.safetensors")
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])
    tw.models.load_weights_of_torch(model, tmp_path / "less.safetensors", strict=False)
