"""Which architecture in PyTorch belongs to which class of models, and weights for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity import torch_twins_dense as dense
from tests.parity import torch_twins_images as images
from tests.parity import torch_twins_recurrent as recurrent
from tests.parity import torch_twins_transformers as transformers
from tests.parity.torch_twins_parts import torch

import thalweg as tw
from thalweg import nn

# Each makes the network of the sizes of the model that it is given.
TWINS: dict[type[nn.Module], Callable[[Any], Any]] = {
    tw.models.AlexNet: images.alexnet,
    tw.models.Autoencoder: dense.autoencoder,
    tw.models.BERT: transformers.bert,
    tw.models.BERTClassifier: transformers.bert_classifier,
    tw.models.BERTMaskedLM: transformers.bert_masked_lm,
    tw.models.CIFARResNet: images.cifar_resnet,
    tw.models.CharRNN: recurrent.char_rnn,
    tw.models.ConvAutoencoder: dense.convolutional_autoencoder,
    tw.models.DCGANDiscriminator: dense.discriminator,
    tw.models.DCGANGenerator: dense.generator,
    tw.models.DenoisingAutoencoder: dense.denoising_autoencoder,
    tw.models.Forecaster: recurrent.forecaster,
    tw.models.GPT2: transformers.gpt2,
    tw.models.LeNet5: images.lenet,
    tw.models.MLP: dense.mlp,
    tw.models.MobileNetV2: images.mobilenet,
    tw.models.Perceptron: dense.perceptron,
    tw.models.ResNet: images.resnet,
    tw.models.Seq2Seq: recurrent.seq2seq,
    tw.models.SequenceClassifier: recurrent.classifier,
    tw.models.SileroVAD: recurrent.silero_vad,
    tw.models.SparseAutoencoder: dense.sparse_autoencoder,
    tw.models.TabularNetwork: dense.tabular,
    tw.models.Transformer: transformers.transformer,
    tw.models.UNet: images.unet,
    tw.models.VGG: images.vgg,
    tw.models.VariationalAutoencoder: dense.variational_autoencoder,
    tw.models.ViT: transformers.vit,
}


def twin(ours: nn.Module) -> Any:
    """Return the same architecture in PyTorch, with the same weights and of the same dtype."""
    theirs = TWINS[type(ours)](ours)
    state = {k: torch.from_numpy(v) for k, v in nn.to_torch(ours).items()}
    theirs = theirs.to(next(v.dtype for v in state.values() if v.is_floating_point()))
    theirs.load_state_dict(state)
    return theirs.train(ours.training)
