"""Training of two networks against one another: GAN, with a Wasserstein critic as an option."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, NumericsError, ShapeError, where
from thalweg.models.dcgan import DCGANGenerator
from thalweg.models.noise import NormalNoise
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["AdversarialTrainer", "gradient_penalty"]

Array = np.ndarray[Any, Any]
LOSSES: Final = ("non_saturating", "wasserstein")


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    r"""How far the critic's slope is from 1, between real and drawn images.

    .. math:: E[(\lVert \nabla_{\hat x} D(\hat x) \rVert_2 - 1)^2],
              \quad \hat x = \epsilon x + (1 - \epsilon) G(z)

    It can be differentiated again, by the critic's parameters.

    Args:
        critic: gives one number for each image.
        real: images.
        fake: drawn images, of the same shape.
        shares: of the real image in each mixture, from 0 to 1: ``(batch,)``.

    Raises:
        ShapeError: the images have different shapes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> slope_of_3 = nn.Linear(1, 1, weight_init=3.0)
        >>> float(gradient_penalty(slope_of_3, tw.ones((2, 1)), tw.zeros((2, 1)), tw.ones(2)))
        4.0

    I. Gulrajani et al., "Improved training of Wasserstein GANs", arXiv:1704.00028.
    """
    if tuple(real.shape) != tuple(fake.shape):
        raise ShapeError(
            f"gradient_penalty: the real images have shape {tuple(real.shape)}, the drawn ones "
            f"{tuple(fake.shape)}; they must be equal. {where()}"
        )
    rest = tuple(range(1, real.ndim))
    share = tw.reshape(shares, (-1, *(1 for _ in rest)))
    mixed = share * real + (1 - share) * fake
    slopes = tw.grad(lambda images: tw.sum(critic(images)))(mixed)
    # The root's slope is infinite at 0, where the critic is flat.
    norms = tw.sqrt(tw.sum(tw.square(slopes), axis=rest) + 1e-12)
    penalty: Tensor = tw.mean(tw.square(norms - 1))
    return penalty


class AdversarialTrainer:
    """Trains a generator and a discriminator in turns; each step is one compiled program.

    With ``"non_saturating"`` the discriminator learns the logit of "real", and the generator to
    raise that logit for what it draws (I. Goodfellow et al., arXiv:1406.2661). With
    ``"wasserstein"`` it is a critic whose scores are compared (M. Arjovsky et al.,
    arXiv:1701.07875), which needs ``gradient_penalty=10`` or spectral normalisation to keep the
    critic's slope bounded.

    Args:
        generator: ``(batch, code)`` to images.
        discriminator: images to ``(batch, 1)``; of the generator's dtype.
        loss: ``"non_saturating"`` or ``"wasserstein"``.
        gradient_penalty: weight of the penalty on the critic's slope; 0 for none. WGAN-GP has 10.
        critic_steps: steps of the discriminator for one of the generator. WGAN-GP has 5.
        learning_rate, betas: of Adam, which trains both. WGAN-GP has 1e-4 and (0, 0.9).
        seed: decides the codes.

    Raises:
        ArgumentError: an unknown loss, an argument outside of its legal values, or a gradient
            penalty on a discriminator with batch normalisation.

    Example:
        >>> import thalweg as tw
        >>> draws = tw.models.DCGANGenerator(28, 1, code=4, width=2)
        >>> tells = tw.models.DCGANDiscriminator(28, 1, width=2)
        >>> trainer = tw.models.AdversarialTrainer(draws, tells)
        >>> sorted(trainer.step(np.zeros((4, 28, 28, 1), np.float32)))
        ['discriminator', 'generator']
        >>> trainer.sample(3).shape
        (3, 28, 28, 1)
    """

    def __init__(
        self,
        generator: DCGANGenerator | nn.Module,
        discriminator: nn.Module,
        *,
        loss: str = "non_saturating",
        gradient_penalty: float = 0.0,
        critic_steps: int = 1,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        seed: int = 0,
    ) -> None:
        positive("AdversarialTrainer", critic_steps=critic_steps)
        if loss not in LOSSES or gradient_penalty < 0:
            raise ArgumentError(
                f"AdversarialTrainer: got loss {loss!r} and gradient_penalty {gradient_penalty!r}; "
                f"wanted one of {', '.join(LOSSES)} and a weight from 0 on. {where()}"
            )
        _check_penalised(discriminator, gradient_penalty)
        self.generator, self.discriminator = generator, discriminator
        self.loss, self.gradient_penalty = loss, float(gradient_penalty)
        self.critic_steps = int(critic_steps)
        self.dtype = next(iter(generator.parameters().values())).dtype
        self.code = int(getattr(generator, "code", 100))
        self.noise = NormalNoise().reset_parameters(seed)
        self.shares = NormalNoise().reset_parameters(seed + 1)
        self.generator_optimizer = optim.Adam(
            generator, learning_rate=learning_rate, betas=betas
        )
        self.discriminator_optimizer = optim.Adam(
            discriminator, learning_rate=learning_rate, betas=betas
        )
        self.steps_done = 0
        self._both = tw.compile(self._train_both)
        self._critic = tw.compile(self._train_critic)
        self._draw = tw.compile(self._drawn)

    # --- losses ---------------------------------------------------------------------------

    def _tell_loss(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss; real and drawn images go through it one by one."""
        on_real, on_fake = discriminator(real), discriminator(fake)
        total: Tensor
        if self.loss == "wasserstein":
            total = tw.mean(on_fake) - tw.mean(on_real)
        else:
            total = tw.mean(tw.softplus(-on_real)) + tw.mean(tw.softplus(on_fake))
        if self.gradient_penalty:
            # Uniform shares, from normal numbers through their distribution function.
            flat = self.shares(tw.reshape(real, (real.shape[0], -1))[:, 0])
            shares = 0.5 * (1 + tw.erf(flat * 0.5**0.5))
            penalty = gradient_penalty(discriminator, real, fake, shares)
            total = total + self.gradient_penalty * penalty
        return total

    def _draw_loss(self, on_fake: Tensor) -> Tensor:
        wasserstein = self.loss == "wasserstein"
        loss: Tensor = -tw.mean(on_fake) if wasserstein else tw.mean(tw.softplus(-on_fake))
        return loss

    # --- steps ----------------------------------------------------------------------------

    def _codes(self, count: int) -> Tensor:
        codes: Tensor = self.noise(tw.zeros((count, self.code), dtype=self.dtype))
        return codes

    def _update_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        value, grads = tw.value_and_grad(self._tell_loss)(
            self.discriminator, real, tw.stop_gradient(fake)
        )
        self.discriminator_optimizer.update(grads)
        told: Tensor = value
        return told

    def _train_critic(self, real: Tensor) -> Tensor:
        fake: Tensor = self.generator(self._codes(real.shape[0]))
        return self._update_discriminator(real, fake)

    def _train_both(self, real: Tensor) -> tuple[Tensor, Tensor]:
        codes = self._codes(real.shape[0])

        def objective(generator: nn.Module) -> tuple[Tensor, Tensor]:
            # One pass of the generator serves both: the discriminator learns from its images
            # first, then tells the generator how to change them.
            fake = generator(codes)
            told = self._update_discriminator(real, fake)
            return self._draw_loss(self.discriminator(fake)), told

        (drawn, told), grads = tw.value_and_grad(objective, has_aux=True)(self.generator)
        self.generator_optimizer.update(grads)
        return told, drawn

    def step(self, real: Any) -> dict[str, float]:
        """Train on one batch of images; return the losses.

        Args:
            real: images as the discriminator takes them, scaled as the generator draws them (from
                -1 to 1 after a tanh).

        Returns:
            ``"discriminator"``, and ``"generator"`` where it was trained in this step.

        Raises:
            NumericsError: a loss became NaN or infinite.
            ShapeError: the images have another shape.
        """
        images = np.asarray(real, dtype=self.dtype.numpy)
        if images.ndim == 3:
            images = images[..., None]
        self.steps_done += 1
        if self.steps_done % self.critic_steps:
            losses = {"discriminator": float(self._critic(images))}
        else:
            told, drawn = self._both(images)
            losses = {"discriminator": float(told), "generator": float(drawn)}
        for name, value in losses.items():
            if not np.isfinite(value):
                raise NumericsError(
                    f"AdversarialTrainer: the loss of the {name} became {value} in step "
                    f"{self.steps_done}, and the weights with it. Make both networks anew, with a "
                    f"smaller learning rate or a gradient_penalty. {where()}"
                )
        return losses

    def fit(
        self, images: Any, *, epochs: int = 1, batch_size: int = 64, seed: int = 0
    ) -> list[dict[str, float]]:
        """Train on images for some epochs; return the mean losses of each.

        Images that do not fill a last batch wait for another epoch, which has another order.

        Raises:
            ArgumentError: a count is not from 1 on, or there are fewer images than in a batch.
            NumericsError: a loss became NaN or infinite.
        """
        positive("AdversarialTrainer.fit", epochs=epochs, batch_size=batch_size)
        data = np.asarray(images)
        steps = len(data) // batch_size
        if not steps:
            raise ArgumentError(
                f"AdversarialTrainer.fit: {len(data)} images do not fill a batch of {batch_size}; "
                f"make batch_size smaller. {where()}"
            )
        self.generator.train()
        self.discriminator.train()
        history = []
        for epoch in range(epochs):
            order = np.random.default_rng([seed, epoch]).permutation(len(data))
            told: dict[str, list[float]] = {}
            for rows in order[: steps * batch_size].reshape(steps, batch_size):
                for name, value in self.step(data[rows]).items():
                    told.setdefault(name, []).append(value)
            history.append({name: float(np.mean(values)) for name, values in told.items()})
        return history

    def _drawn(self, codes: Tensor) -> Tensor:
        images: Tensor = self.generator(codes)
        return images

    def sample(self, count: int) -> Array:
        """Return new images, drawn by the generator in evaluation mode, as a NumPy array.

        Raises:
            ArgumentError: the count is not from 1 on.
        """
        positive("AdversarialTrainer.sample", count=count)
        training = self.generator.training
        self.generator.eval()
        try:
            return self._draw(self._codes(count)).numpy()  # type: ignore[no-any-return]
        finally:
            self.generator.train(training)


def _check_penalised(discriminator: nn.Module, weight: float) -> None:
    """Raise where a penalty for each image meets layers that mix the images of a batch."""
    for path, module in discriminator.named_modules().items():
        if weight and type(module).__name__.startswith("BatchNorm"):
            raise ArgumentError(
                f"AdversarialTrainer: the gradient penalty is for each image alone, and layer "
                f"{path} ({type(module).__name__}) mixes the images of a batch; make the "
                f"discriminator with batch_norm=False. {where()}"
            )
