"""Augmentations: values against NumPy, and the laws that all of them keep."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from tests.backends.llvm.test_native import WIDTHS

import thalweg as tw
from thalweg.data import augment
from thalweg.errors import ArgumentError, DTypeError, FormatError, ShapeError

MADE = [
    augment.Affine(20, 0.1, (0.8, 1.2), 10, fill=0.5), augment.Brightness(), augment.Contrast(),
    augment.CutMix(classes=4), augment.FrequencyMask(3, count=2), augment.GaussianNoise(2.0),
    augment.HorizontalFlip(), augment.Hue(), augment.Mixup(1.0, classes=4), augment.RandomCrop(),
    augment.RandomErasing(0.9), augment.Rotation(30), augment.Saturation(), augment.TimeMask(4),
    augment.VerticalFlip(), augment.Sometimes(augment.Brightness(), 0.5),
    augment.Compose(augment.HorizontalFlip(), augment.RandomCrop(padding=2), augment.Brightness()),
]  # fmt: skip
MIXING = (augment.Mixup, augment.CutMix)
KEY = tw.random.key(3)
by_name = pytest.mark.parametrize("aug", MADE, ids=lambda a: type(a).__name__)


def images(shape=(6, 9, 7, 3), dtype="float32", seed=0):
    x = np.random.default_rng(seed).uniform(0, 255 if dtype == "uint8" else 1, shape)
    return x.astype(dtype)


def run(aug, x, y=None, key=KEY):
    x, y = aug(key, x, y)
    return np.asarray(x), None if y is None else np.asarray(y)


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(augment.__path__)])
def test_examples_in_docstrings_run(name):
    failed, _ = doctest.testmod(importlib.import_module(f"thalweg.data.augment.{name}"))
    assert failed == 0


def test_every_public_class_is_put_through_the_common_tests():
    found = {
        c for c in vars(augment).values()
        if inspect.isclass(c) and issubclass(c, augment.Augmentation)
    }  # fmt: skip
    assert found - {augment.Augmentation} == {type(a) for a in MADE}
    assert all(c.__name__ in augment.__all__ and ">>>" in c.__doc__ for c in found)


@by_name
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 9, 7, 3), (1, 5, 5, 3), (4, 8, 8, 1)])
def test_shape_and_dtype_stay_and_compiled_is_eager(aug, dtype, shape):
    x, y = images(shape, dtype), np.arange(shape[0]) % 4
    eager, targets = run(aug, x, y)
    compiled, told = tw.compile(lambda k, x, y: aug(k, x, y))(KEY, x, y)
    assert eager.shape == shape
    assert eager.dtype == dtype
    assert np.isfinite(eager).all()
    # The native compiler may contract a product and a sum, so that the last bit may differ.
    if dtype == "uint8":
        assert np.abs(eager.astype(int) - np.asarray(compiled).astype(int)).max() <= 1
    else:
        np.testing.assert_allclose(eager, compiled, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(targets, told, rtol=1e-6, atol=1e-6)
    if isinstance(aug, MIXING):
        assert targets.shape == (shape[0], 4)
        np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    else:
        np.testing.assert_array_equal(targets, y)


@by_name
def test_same_key_same_bits_other_key_other_bits(aug):
    x, y = images((16, 9, 7, 3)), np.arange(16) % 4
    np.testing.assert_array_equal(run(aug, x, y)[0], run(aug, x, y)[0])
    assert (run(aug, x, y)[0] != run(aug, x, y, tw.random.key(4))[0]).any()
    assert (run(aug, x, y)[0] != x).any()


@by_name
def test_an_example_does_not_depend_on_the_rest_of_the_batch(aug):
    if isinstance(aug, MIXING):
        pytest.skip("mixes with the row before")
    x = images((8, 9, 7, 3))
    other = np.concatenate([x[:3], images((2, 9, 7, 3), seed=1)])
    np.testing.assert_allclose(run(aug, x)[0][:3], run(aug, other)[0][:3], rtol=1e-6, atol=1e-6)


@by_name
def test_bits_do_not_depend_on_threads(aug):
    x, y = images((32, 9, 7, 3)), np.arange(32) % 4
    made = []
    before = tw.settings.threads
    for threads in (1, 2, 3):
        tw.settings.threads = threads
        try:
            made.append(np.asarray(tw.compile(lambda k, x, y: aug(k, x, y)[0])(KEY, x, y)))
        finally:
            tw.settings.threads = before
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


@by_name
def test_vectors_of_any_width_make_the_same_batch(aug):
    x, y = images((8, 9, 7, 3)), np.arange(8) % 4
    made = []
    before = tw.settings.vector
    for width in (*WIDTHS, "auto"):
        tw.settings.vector = width
        try:
            made.append(np.asarray(tw.compile(lambda k, x, y: aug(k, x, y)[0])(KEY, x, y)))
        finally:
            tw.settings.vector = before
    for other in made[1:]:
        np.testing.assert_allclose(made[0], other, rtol=1e-5, atol=1e-6)


@by_name
def test_an_augmentation_is_frozen_and_shows_its_arguments(aug):
    assert repr(aug).startswith(type(aug).__name__ + "(")
    assert eval(repr(aug), vars(augment).copy()) == aug
    field = dataclasses.fields(aug)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(aug, field, 1)


@by_name
def test_a_batch_tuple_keeps_its_other_inputs(aug):
    x, y, extra = images(), np.arange(6) % 4, np.arange(6.0)
    got = aug(KEY, (x, extra, y))
    assert isinstance(got, tuple)
    assert got[1] is extra
    np.testing.assert_array_equal(np.asarray(got[0]), run(aug, x, y)[0])
    assert len(aug(KEY, (x,))) == 1


@pytest.mark.parametrize(("kind", "axis"), [(augment.HorizontalFlip, 2), (augment.VerticalFlip, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_flips(kind, axis, dtype):
    x = images(dtype=dtype)
    np.testing.assert_array_equal(run(kind(1.0), x)[0], np.flip(x, axis))
    np.testing.assert_array_equal(run(kind(0.0), x)[0], x)
    np.testing.assert_array_equal(run(kind(1.0), run(kind(1.0), x)[0])[0], x)
    half = run(kind(0.5), x)[0]
    for own, made in zip(x, half, strict=True):
        assert any((made == want).all() for want in (own, np.flip(own, axis - 1)))


def test_share_flipped_is_p():
    x = np.tile(np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1), (20_000, 1, 1, 1))
    share = run(augment.HorizontalFlip(0.3), x)[0][:, 0, 0, 0].mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("mode", "fill"), [("constant", 7), ("reflect", 0)])
@pytest.mark.parametrize("size", [None, (4, 5)])
def test_crops_are_windows_of_the_padded_image(dtype, mode, fill, size):
    x = images((64, 6, 5, 2), dtype)
    made = run(augment.RandomCrop(size, 2, mode, fill), x)[0]
    more = {"constant_values": fill} if mode == "constant" else {}
    wide = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode, **more)
    h, w = size or (6, 5)
    places = [(i, j) for i in range(10 - h + 1) for j in range(9 - w + 1)]
    seen = set()
    for padded, window in zip(wide, made, strict=True):
        fits = [p for p in places if (padded[p[0] : p[0] + h, p[1] : p[1] + w] == window).all()]
        assert fits
        seen.update(fits)
    assert len(seen) > len(places) / 2  # of 64 draws over at most 35 places


def test_crop_offsets_are_uniform():
    x = np.tile(np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1), (9000, 1, 1, 1))
    first = run(augment.RandomCrop((1, 1), 0), x)[0].reshape(-1)
    assert (np.abs(np.bincount(first.astype(int), minlength=3) - 3000) < 4 * 45).all()


@pytest.mark.parametrize("turns", [-1, 1, 2, 3])
@pytest.mark.parametrize("size", [5, 8])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rotation_by_right_angles_is_rot90(turns, size, dtype):
    x = images((2, size, size, 3), dtype)
    made = run(augment.Rotation((90 * turns, 90 * turns)), x)[0]
    np.testing.assert_allclose(made, np.rot90(x, turns, (1, 2)), atol=1e-5)


def reference_affine(x, degrees, scale, shear, fill):
    """Return one image (height, width) mapped by the formula of ``Affine``, pixel by pixel."""
    t, k = np.deg2rad(degrees), np.tan(np.deg2rad(shear))
    turn = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])  # y points down
    back = np.linalg.inv(scale * turn @ np.array([[1, k], [0, 1]]))
    h, w = x.shape
    wide = np.pad(x, 2, constant_values=fill)
    out = np.full_like(x, fill)
    for i in range(h):
        for j in range(w):
            a, b = back @ np.array([j - (w - 1) / 2, i - (h - 1) / 2])
            r, c = b + (h - 1) / 2, a + (w - 1) / 2
            if not (-1 < r < h and -1 < c < w):
                continue
            r0, c0 = int(np.floor(r)), int(np.floor(c))
            dr, dc = r - r0, c - c0
            p = wide[r0 + 2 : r0 + 4, c0 + 2 : c0 + 4]
            out[i, j] = np.array([1 - dr, dr]) @ p @ np.array([1 - dc, dc])
    return out


def test_affine_is_the_formula_of_the_docstring():
    x = images((1, 9, 6, 1))
    made = run(augment.Affine((30, 30), 0, (0.8, 0.8), (15, 15), fill=0.25), x)[0]
    want = reference_affine(x[0, :, :, 0].astype(float), 30, 0.8, 15, 0.25)
    np.testing.assert_allclose(made[0, :, :, 0], want, atol=1e-5)


def test_affine_moves_by_at_most_its_share():
    x = np.zeros((200, 11, 11, 1), np.float32)
    x[:, 5, 5] = 1
    made = run(augment.Affine(translate=0.2), x)[0][..., 0]
    for axis in (1, 2):
        moved = (made.sum(3 - axis) * np.arange(11)).sum(1) - 5
        assert np.abs(moved).max() <= 2.2 + 1e-4
        assert moved.min() < -1.5
        assert moved.max() > 1.5


def test_brightness_contrast_saturation():
    x = images((4, 5, 6, 3))
    np.testing.assert_allclose(run(augment.Brightness((1.5, 1.5)), x)[0], x * 1.5, rtol=1e-6)
    mean = x.mean((1, 2, 3), keepdims=True)
    made = run(augment.Contrast((0.5, 0.5)), x)[0]
    np.testing.assert_allclose(made, mean + 0.5 * (x - mean), atol=1e-6)
    np.testing.assert_allclose(made.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-6)
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)[:, None]
    made = run(augment.Saturation((2, 2)), x)[0]
    np.testing.assert_allclose(made, grey + 2 * (x - grey), atol=1e-5)
    factors = run(augment.Brightness(0.3), np.ones((4000, 1, 1, 1), np.float32))[0]
    assert abs(factors.mean() - 1) < 0.015
    assert factors.min() >= 0.7
    assert factors.max() <= 1.3


def test_bytes_are_rounded_and_clipped():
    x = np.array([0, 3, 100, 200], np.uint8).reshape(1, 2, 2, 1)
    assert run(augment.Brightness((1.5, 1.5)), x)[0].ravel().tolist() == [0, 4, 150, 255]


def test_hue_turns_the_circle_as_colorsys_does():
    import colorsys

    x = images((2, 4, 4, 3))
    x[0, 0, 0] = 0.5  # grey
    np.testing.assert_allclose(run(augment.Hue(0.0), x)[0], x, atol=1e-6)
    for turn in (-0.4, 0.2, 0.5):
        made = run(augment.Hue((turn, turn)), x)[0]
        for before, after in zip(x.reshape(-1, 3), made.reshape(-1, 3), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*before.astype(float))
            np.testing.assert_allclose(after, colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-5)


def test_noise_has_the_standard_deviation_asked_for():
    made = run(augment.GaussianNoise(0.5), np.zeros((4, 50, 50, 1), np.float32))[0]
    assert abs(made.std() - 0.5) < 0.02
    assert abs(made.mean()) < 0.02


def test_erasing_fills_one_rectangle():
    x = np.ones((500, 20, 16, 2), np.float32)
    made = run(augment.RandomErasing(0.5, (0.1, 0.3), (0.5, 2.0), fill=-1.0), x)[0]
    gone = made[..., 0] == -1
    np.testing.assert_array_equal(gone, made[..., 1] == -1)
    touched = gone.any((1, 2))
    assert abs(touched.mean() - 0.5) < 0.09
    for mask in gone[touched]:
        rows, columns = mask.any(1), mask.any(0)
        assert (mask == np.outer(rows, columns)).all()
        assert (np.diff(np.flatnonzero(rows)) == 1).all()
        assert 0.07 < mask.mean() < 0.34


@pytest.mark.parametrize("channels", [(), (2,)])
def test_masks_of_spectrograms(channels):
    x = np.ones((2000, 30, 12, *channels), np.float32)
    flat = (Ellipsis, 0) if channels else Ellipsis
    time = run(augment.TimeMask(10), x)[0][flat] == 0
    bands = run(augment.FrequencyMask(4), x)[0][flat] == 0
    assert (time == time[:, :, :1]).all()
    assert (bands == bands[:, :1]).all()
    assert set(time[:, :, 0].sum(1)) == set(range(11))
    assert set(bands[:, 0].sum(1)) == set(range(5))
    assert (np.abs(np.diff(time[:, :, 0].astype(int), axis=1)).sum(1) <= 2).all()
    short = run(augment.TimeMask(10, share=0.1), x)[0][flat] == 0
    assert short[:, :, 0].sum(1).max() == 3


def test_mixup_mixes_inputs_and_targets_by_one_share():
    x = np.eye(8, dtype=np.float32)
    mixed, y = run(augment.Mixup(1.0, classes=8), x, np.arange(8))
    np.testing.assert_allclose(mixed, y, atol=1e-6)
    assert ((y > 0).sum(1) <= 2).all()
    np.testing.assert_allclose(run(augment.Mixup(1.0), x, x)[1], y, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0, 4.0])
def test_shares_of_mixup_are_beta_distributed(alpha):
    n = 20_000
    x = (np.arange(n) % 2).astype(np.float32).reshape(n, 1)
    mixed = run(augment.Mixup(alpha), x)[0][:, 0]
    share = np.where(x[:, 0] == 1, mixed, 1 - mixed)
    assert np.isfinite(share).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(share.mean() - 0.5) < 5 * np.sqrt(variance / n)
    assert abs(share.var() - variance) < 0.005
    middle = np.random.default_rng(0).beta(alpha, alpha, n)
    for q in (0.1, 0.3, 0.7, 0.9):
        assert abs(np.quantile(share, q) - np.quantile(middle, q)) < 0.03


def test_cutmix_targets_are_the_area_replaced():
    x = np.broadcast_to(np.arange(2.0).reshape(2, 1, 1, 1), (2, 8, 10, 1)).astype(np.float32)
    x = np.tile(x, (100, 1, 1, 1))
    mixed, y = run(augment.CutMix(classes=2), x, np.arange(200) % 2)
    assert set(np.unique(mixed)) == {0.0, 1.0}
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), y[:, 1], atol=1e-6)
    assert len(np.unique(y[:, 1].round(4))) > 20


def test_labels_that_cannot_be_mixed():
    x = np.ones((2, 4, 4, 1), np.float32)
    with pytest.raises(ArgumentError, match=r"classes="):
        augment.Mixup()(KEY, x, np.array([0, 1]))
    for wrong in (3, -1):
        with pytest.raises(IndexError):
            run(augment.Mixup(classes=3), x, np.array([0, wrong]))


def test_sometimes_mixes_targets_only_of_those_it_changes():
    x = np.tile(np.eye(4, dtype=np.float32), (100, 1))
    made, y = run(augment.Sometimes(augment.Mixup(1.0, classes=4), 0.5), x, np.arange(400) % 4)
    np.testing.assert_allclose(made, y, atol=1e-6)
    assert 0.35 < (y.max(1) == 1).mean() < 0.65


def test_members_of_compose_draw_numbers_of_their_own():
    x = np.ones((100, 1, 1, 1), np.float32)
    once = augment.Brightness(0.5)
    twice = run(augment.Compose(once, once), x)[0].ravel()
    one = run(once, x)[0].ravel()
    assert abs(np.corrcoef(twice / one, one)[0, 1]) < 0.4
    np.testing.assert_array_equal(run(augment.Compose(), x)[0], x)


def test_augmenter_counts_in_compiled_steps_and_is_restored():
    augmenter = augment.Augmenter(augment.GaussianNoise(), seed=5)
    step = tw.compile(lambda x: augmenter(x)[0])
    x = np.zeros((2, 3), np.float32)
    first = np.asarray(step(x))
    state = augmenter.state_dict()
    second = np.asarray(step(x))
    assert (first != second).any()
    assert augmenter.state_dict()["count"] == 2
    augmenter.load_state_dict(state)
    np.testing.assert_array_equal(np.asarray(step(x)), second)
    again = augment.Augmenter(augment.GaussianNoise(), seed=5)
    np.testing.assert_allclose(np.asarray(again(x)[0]), first, atol=1e-6)
    with pytest.raises(FormatError):
        augmenter.load_state_dict({"key": state["key"]})


def test_augmenter_is_the_identity_in_evaluation():
    augmenter = augment.Augmenter(augment.GaussianNoise())
    step = tw.compile(lambda x: augmenter(x)[0])
    x = np.zeros((2, 3), np.float32)
    assert np.asarray(step(x)).any()
    augmenter.eval()
    assert not np.asarray(step(x)).any()
    assert augmenter.state_dict()["count"] == 1
    augmenter.train()
    assert np.asarray(step(x)).any()


def test_trainer_augments_its_training_batches():
    x, y = images((32, 8, 8, 1)), np.arange(32) % 4
    model = tw.nn.Sequential(tw.nn.Flatten(), tw.nn.Linear(64, 4))
    policy = augment.Compose(augment.HorizontalFlip(), augment.Mixup(classes=4))
    history = tw.Trainer(model, augment=policy).fit((x, y), epochs=2, batch_size=8)
    assert history is not None


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: augment.HorizontalFlip(1.5), "p must"),
        (lambda: augment.RandomCrop(padding=-1), "padding"),
        (lambda: augment.RandomCrop(0), "size"),
        (lambda: augment.RandomCrop(mode="wrap"), "mode"),
        (lambda: augment.Rotation(float("nan")), "degrees"),
        (lambda: augment.Affine(scale=(0, 1)), "scale"),
        (lambda: augment.Affine(translate=2), "translate"),
        (lambda: augment.Brightness(-0.1), "strength"),
        (lambda: augment.Brightness((2, 1)), "strength"),
        (lambda: augment.Hue(0.7), "strength"),
        (lambda: augment.RandomErasing(area=(0, 1)), "area"),
        (lambda: augment.GaussianNoise(-1), "std"),
        (lambda: augment.TimeMask(2.5), "width"),
        (lambda: augment.Mixup(0), "alpha"),
        (lambda: augment.CutMix(classes=0), "classes"),
        (lambda: augment.Compose(augment.HorizontalFlip), r"HorizontalFlip\(\)"),
        (lambda: augment.Sometimes(3), "augmentation"),
        (lambda: augment.Augmenter(None), "policy"),
    ],
)
def test_wrong_arguments_are_named(make, name):
    with pytest.raises(ArgumentError, match=name) as error:
        make()
    assert " at " in str(error.value)


def test_wrong_batches_are_named():
    x = np.ones((2, 4, 4, 3), np.float32)
    flip = augment.HorizontalFlip()
    with pytest.raises(ShapeError, match="channels"):
        flip(KEY, x[0])
    with pytest.raises(DTypeError, match="uint8"):
        flip(KEY, x.astype("int32"))
    with pytest.raises(ShapeError, match="first axes"):
        flip(KEY, x, np.zeros(3))
    with pytest.raises(ShapeError, match="channels"):
        augment.Hue()(KEY, x[..., :2])
    with pytest.raises(ShapeError, match="at most"):
        augment.RandomCrop(20)(KEY, x)
    with pytest.raises(ShapeError, match="at most"):
        augment.RandomCrop(mode="reflect")(KEY, x)
    with pytest.raises(ShapeError, match="Sometimes"):
        augment.Sometimes(augment.RandomCrop(2))(KEY, x)
