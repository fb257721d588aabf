"""The model of a run: checked on paper, built from the seed, its parameters one flat vector."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from peer.training.failure import TrainerFailure
from peer.training.footprint import Footprint, estimate
from swarmpb.architecture import model_config
from swarmpb.spec import RunSpec, SpecError


class FlatModel:
    """A model whose trainable parameters are views into one vector, so are their gradients.

    Order: `named_parameters`, tied parameters once; float32, shape (n,). A cut is one copy of
    `vector`, a shift one addition to it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._shapes = {n: p.shape for n, p in model.named_parameters() if p.requires_grad}
        parameters = dict(model.named_parameters())
        self.vector = torch.cat([parameters[n].detach().reshape(-1) for n in self._shapes])
        self.gradient = torch.zeros_like(self.vector)
        gradients = self.views(self.gradient)
        for name, view in self.views(self.vector).items():
            parameters[name].data = view
            parameters[name].grad = gradients[name]

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """A vector of shape (n,) as the named parameters it stands for."""
        pieces = vector.split([math.prod(shape) for shape in self._shapes.values()])
        return {
            n: piece.view(s) for (n, s), piece in zip(self._shapes.items(), pieces, strict=True)
        }

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean negative log-likelihood of each next token, nats; `tokens`: (batch, time)."""
        with _arithmetic(tokens):
            loss: Tensor = self.model(**_inputs(tokens)).loss
        return loss

    @torch.no_grad()
    def loss_with(self, vector: Tensor, tokens: Tensor) -> float:
        """The same with `vector`, shape (n,), as parameters, and no dropout."""
        self.model.eval()
        try:
            with _arithmetic(tokens):
                views = self.views(vector)
                output = torch.func.functional_call(self.model, views, kwargs=_inputs(tokens))
        finally:
            self.model.train()
        return float(output.loss)


def choose_device(wish: str) -> torch.device:
    """The device for `wish` (`options.DEVICES`); `TrainerFailure("spec")` if it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wish == "auto":
        wish = next((name for name, present in there.items() if present), "cpu")
    if not there.get(wish, True):
        raise TrainerFailure("spec", f"no {wish} device here; choose another with --device")
    return torch.device(wish)


def accelerator_name(device: torch.device) -> str:
    """What its maker calls it; empty for the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "" if device.type == "cpu" else device.type


def memory_needed(spec: RunSpec) -> Footprint:
    """Of the spec's model, estimated; nothing is allocated. `TrainerFailure("spec")`."""
    return estimate(_drawing(_config(spec)), spec)


def build_model(spec: RunSpec, device: torch.device) -> FlatModel:
    """The spec's model with its first parameters, the same on every peer.

    Whether it fits is for the caller to know. `TrainerFailure("spec")`.
    """
    config = _config(spec)
    _drawing(config)  # faults are told before anything is allocated
    torch.manual_seed(spec.seed)
    model = _construct(config)
    module: nn.Module = model  # whose `to` is typed, unlike the wrapper of transformers
    module.to(device)
    model.train()
    return FlatModel(model)


def parameter_count(spec: RunSpec) -> int:
    """Length of the flat vector of the spec's model; nothing is allocated.

    `TrainerFailure("spec")` if there is no such model.
    """
    drawing = _drawing(_config(spec))
    return sum(p.numel() for _, p in drawing.named_parameters() if p.requires_grad)


def bare_model(spec: RunSpec) -> FlatModel:
    """The spec's model in the machine's memory, for whoever does not train it.

    Its parameters are to be set. Raises `TrainerFailure`: spec.
    """
    return FlatModel(_construct(_config(spec)))


def _config(spec: RunSpec) -> PreTrainedConfig:
    try:
        return model_config(spec)
    except SpecError as error:
        raise TrainerFailure("spec", str(error)) from error


def _drawing(config: PreTrainedConfig) -> PreTrainedModel:
    """The model without memory behind it; `TrainerFailure("spec")` if its values do not fit."""
    try:
        with torch.device("meta"):
            model: PreTrainedModel = _construct(config)
    except Exception as error:  # its constructor may raise anything for values from outside
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise TrainerFailure("spec", f"model.config: no model can be built: {words}") from error
    return model


def _construct(config: PreTrainedConfig) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def _inputs(tokens: Tensor) -> dict[str, Any]:
    return {"input_ids": tokens, "labels": tokens, "use_cache": False}


def _arithmetic(tokens: Tensor) -> torch.autocast:
    return torch.autocast("cuda", torch.bfloat16, enabled=tokens.is_cuda)
