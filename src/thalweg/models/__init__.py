"""Architectures from the literature, made by name: ``create``, ``list`` and the classes."""

from __future__ import annotations

from thalweg.models.adversarial import AdversarialTrainer, gradient_penalty
from thalweg.models.alexnet import AlexNet
from thalweg.models.autoencoder import (
    Autoencoder,
    ConvAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    sparse_loss,
)
from thalweg.models.bert import BERT, BERTClassifier, BERTMaskedLM
from thalweg.models.char_rnn import CharRNN
from thalweg.models.dcgan import DCGANDiscriminator, DCGANGenerator
from thalweg.models.files import load, load_weights_of_torch
from thalweg.models.forecaster import Forecaster
from thalweg.models.gpt import GPT2
from thalweg.models.lenet import LeNet5
from thalweg.models.mlp import MLP
from thalweg.models.mobilenet import MobileNetV2
from thalweg.models.perceptron import Perceptron, PerceptronFit
from thalweg.models.registry import Architecture, create, get, register
from thalweg.models.registry import architectures as list
from thalweg.models.resnet import CIFARResNet, ResNet
from thalweg.models.seq2seq import Seq2Seq
from thalweg.models.sequence_classifier import SequenceClassifier
from thalweg.models.series_network import SeriesNetwork
from thalweg.models.silero_vad import SileroVAD
from thalweg.models.tabular import TabularNetwork
from thalweg.models.text_network import TextNetwork
from thalweg.models.transformer import Transformer
from thalweg.models.unet import UNet
from thalweg.models.variational import VariationalAutoencoder, variational_loss
from thalweg.models.vgg import VGG
from thalweg.models.vit import ViT

__all__ = [
    "BERT",
    "GPT2",
    "MLP",
    "VGG",
    "AdversarialTrainer",
    "AlexNet",
    "Architecture",
    "Autoencoder",
    "BERTClassifier",
    "BERTMaskedLM",
    "CIFARResNet",
    "CharRNN",
    "ConvAutoencoder",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DenoisingAutoencoder",
    "Forecaster",
    "LeNet5",
    "MobileNetV2",
    "Perceptron",
    "PerceptronFit",
    "ResNet",
    "Seq2Seq",
    "SequenceClassifier",
    "SeriesNetwork",
    "SileroVAD",
    "SparseAutoencoder",
    "TabularNetwork",
    "TextNetwork",
    "Transformer",
    "UNet",
    "VariationalAutoencoder",
    "ViT",
    "create",
    "get",
    "gradient_penalty",
    "list",
    "load",
    "load_weights_of_torch",
    "register",
    "sparse_loss",
    "variational_loss",
]
