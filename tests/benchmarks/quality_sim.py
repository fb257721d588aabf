"""A swarm in one process: where does training with rare, lossy, late exchanges end?

Model, text, inner optimizers, codecs and the outer step are the product's; only the network is
left out: every peer cuts at the same moment, and the answer comes a fixed number of inner steps
later. All settings see the same batches of the same text, so equal seeds pair them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from peer.averaging.codec_names import codec_named
from peer.averaging.codecs import UNIT, FlatVector, decode, encode
from peer.averaging.state import outer_step
from peer.training import data
from peer.training.inner import Evaluation
from peer.training.model import FlatModel, build_model
from peer.training.optimizer import InnerOptimizer
from swarmpb.spec import RunSpec, preset

CPU = torch.device("cpu")
HELD_OUT_SEQUENCES = 256
"""Eight times the product's, so that half a per cent can be told."""
_EVALUATED_AT_ONCE = 8
_DEMO = preset("demo")
BATCH_TOKENS = _DEMO.inner.batch_size * _DEMO.data.sequence_length
"""That a peer trains in an inner step."""


@dataclass(frozen=True)
class Setting:
    """One condition; tokens are the same for equal `peers` and `inner_steps`."""

    data_parallel: bool = False
    """Average gradients in every inner step; rounds, delay and codecs do not matter then."""
    optimizer: str = "muon"
    rate: float = 0.02
    """Peak rate of the matrices inside blocks, of everything with AdamW."""
    adamw_rate: float = 0.003
    """Peak rate of the rest, beside Muon."""
    muon_momentum: float = 0.8
    outer: tuple[float, float] = (0.9, 0.5)
    """Outer learning rate and momentum."""
    delay: int = 2
    """Inner steps of the fastest peer from a cut to its answer."""
    inner_steps_per_round: int = 20
    """Of the fastest peer."""
    contribution: str = "fp32"
    """Codec of what a peer sends to the owners of parts."""
    answer: str = "fp32"
    """Codec of what the owners send back."""
    peers: int = 4
    inner_steps: int = 200
    """Of each peer, on average."""
    speeds: tuple[float, ...] = ()
    """Inner steps of each peer in the time that the fastest takes for one; empty: all the same."""
    warmup: float = 1 / 24
    cooldown: float = 4 / 15
    """Shares of the run's tokens in which the rate rises, and falls to zero."""
    hidden_size: int = 128
    layers: int = 5
    seed: int = 1


class Feedback:
    """One end of a lossy way, with error feedback: what it lost of a vector goes with the next."""

    def __init__(self, codec: str) -> None:
        self._codec = codec_named(codec)
        self._lost: FlatVector | None = None

    def send(self, values: FlatVector) -> FlatVector:
        """What arrives of `values`, shape (n,)."""
        payload = values.copy() if self._lost is None else values + self._lost
        arrived = decode(self._codec, encode(self._codec, payload), values.size)
        self._lost = payload  # of which `encode` leaves what it lost
        return arrived


class Gradients:
    """The gradients of any parameters, from one model for all peers.

    `compiled`: with kernels made for it by a C++ compiler, if there is a working one; twice as
    fast, for which it takes a minute to begin.
    """

    def __init__(self, spec: RunSpec, compiled: bool) -> None:
        self._flat = build_model(spec, CPU)
        if compiled:
            self._compile(spec.inner.batch_size, spec.data.sequence_length)

    def add(self, flat: FlatModel, tokens: Tensor, share: float) -> None:
        """Add the gradient of `share` times the loss, at the parameters of `flat`, to its own."""
        self._flat.vector.copy_(flat.vector)
        (self._flat.loss(tokens) * share).backward()
        flat.gradient.add_(self._flat.gradient)
        self._flat.gradient.zero_()

    def _compile(self, batch_size: int, length: int) -> None:
        model = self._flat.model
        plain = model.forward
        model.set_attn_implementation("eager")  # which compiles to something faster
        vars(model)["forward"] = torch.compile(plain, dynamic=False)
        try:
            self._flat.loss(torch.zeros(batch_size, length, dtype=torch.long)).backward()
        except Exception as error:  # whatever compilers may come up with
            warnings.warn(f"not compiled: {error}", stacklevel=2)
            del vars(model)["forward"]
        self._flat.gradient.zero_()


@cache
def _gradients(hidden_size: int, layers: int, compiled: bool) -> Gradients:
    return Gradients(spec_of(Setting(hidden_size=hidden_size, layers=layers)), compiled)


@cache
def _library() -> data.Text:
    return data.standard_library()


class SimulatedPeer:
    """A model with its optimizer, its text and what its codec lost."""

    def __init__(
        self, setting: Setting, text: data.TextStream, share: list[int], gradients: Gradients
    ) -> None:
        spec = spec_of(setting)
        self.flat = build_model(spec, CPU)
        self.tokens = 0
        self.tokens_at_cut = 0
        self.feedback = Feedback(setting.contribution)
        self._text = text
        self._share = share
        """Of as many chunks as there are peers, those that are this one's."""
        self._peers = setting.peers
        self._gradients = gradients
        self._optimizer = InnerOptimizer(self.flat, spec)
        self._inner_steps = 0

    def inner_step(self, run_tokens: int) -> None:
        for index in self._share:
            batch = self._text.batch(self._inner_steps * self._peers + index)
            self._gradients.add(self.flat, batch, 1 / len(self._share))
            self.tokens += batch.numel()
        self._optimizer.update(run_tokens)
        self._inner_steps += 1


@dataclass(frozen=True)
class Cut:
    """What all peers held at one moment."""

    inner_step: int
    vectors: list[Tensor]
    weights: list[int]
    """Tokens since the cut before."""


class Swarm:
    """Peers that share global parameters θ and outer momentum m, both of shape (n,)."""

    def __init__(self, setting: Setting, compiled: bool = False) -> None:
        self.rounds = 0
        self._setting = setting
        spec = spec_of(setting)
        text, held_out = data.split(_library(), spec)
        self._held_out = _held_out_batches(held_out, spec)
        stream, everybody = data.TextStream(text, spec), list(range(setting.peers))
        # in data parallel training one model sees the batches of all
        shares = [everybody] if setting.data_parallel else [[index] for index in everybody]
        gradients = _gradients(setting.hidden_size, setting.layers, compiled)
        self._peers = [SimulatedPeer(setting, stream, share, gradients) for share in shares]
        self._answers = Feedback(setting.answer)
        self._parameters = _array(self._peers[0].flat.vector)
        self._momentum = np.zeros_like(self._parameters)

    @property
    def size(self) -> int:
        """Parameters of the model."""
        return self._parameters.size

    def train(self) -> float:
        """The whole run; the held-out loss at its end, nats per byte."""
        if self._setting.data_parallel:
            self._train_in_step()
        else:
            self._train_in_rounds()
        return self._validation_loss()

    def _train_in_step(self) -> None:
        for _ in range(self._setting.inner_steps):
            self._peers[0].inner_step(self._peers[0].tokens)
        self._parameters = _array(self._peers[0].flat.vector)

    def _train_in_rounds(self) -> None:
        speeds = self._setting.speeds or (1.0,) * self._setting.peers
        last = round(self._setting.inner_steps * len(speeds) / sum(speeds))
        cut: Cut | None = None
        for moment in range(1, last + 1):
            run_tokens = self._tokens()
            for peer, speed in zip(self._peers, speeds, strict=True):
                if int(moment * speed + 1e-9) > int((moment - 1) * speed + 1e-9):
                    peer.inner_step(run_tokens)
            if moment % self._setting.inner_steps_per_round == 0 or moment == last:
                cut = self._cut(moment)
            if cut and (moment - cut.inner_step == self._setting.delay or moment == last):
                self._outer_step(cut)
                cut = None

    def _cut(self, moment: int) -> Cut:
        vectors = [peer.flat.vector.clone() for peer in self._peers]
        weights = [peer.tokens - peer.tokens_at_cut for peer in self._peers]
        for peer in self._peers:
            peer.tokens_at_cut = peer.tokens
        return Cut(moment, vectors, weights)

    def _outer_step(self, cut: Cut) -> None:
        """The exchange's answer, taken by all: φ += θ' - φ_cut."""
        mean = np.zeros_like(self._parameters)
        for peer, vector, weight in zip(self._peers, cut.vectors, cut.weights, strict=True):
            if not weight:  # it has nothing to send
                continue
            arrived = peer.feedback.send(self._parameters - _array(vector))
            mean += arrived * np.float32(weight / sum(cut.weights))
        old = (self._parameters, self._momentum)
        new = (np.empty_like(mean), np.empty_like(mean))
        outer_step(old, self._answers.send(mean), *self._setting.outer, new)
        self._parameters, self._momentum = new
        for peer, vector in zip(self._peers, cut.vectors, strict=True):
            peer.flat.vector.add_(torch.from_numpy(self._parameters) - vector)
        self.rounds += 1

    def _tokens(self) -> int:
        return sum(peer.tokens for peer in self._peers)

    def _validation_loss(self) -> float:
        vector = torch.from_numpy(self._parameters)
        evaluation = Evaluation(self._peers[0].flat, vector, self._held_out)
        while (loss := evaluation.advance()) is None:
            pass
        return loss


def spec_of(setting: Setting) -> RunSpec:
    """The demo's spec with the setting's model, rates and length."""
    values = _DEMO.model_dump()
    tokens = setting.peers * setting.inner_steps * BATCH_TOKENS
    values["seed"] = setting.seed
    values["stop"]["tokens"] = tokens
    values["model"]["config"] |= {
        "hidden_size": setting.hidden_size,
        "intermediate_size": setting.hidden_size * 43 // 16,
        "num_hidden_layers": setting.layers,
    }
    values["inner"] |= {
        "optimizer": setting.optimizer,
        "learning_rate": setting.rate,
        "momentum": setting.muon_momentum,
        "adamw_learning_rate": setting.adamw_rate if setting.optimizer == "muon" else None,
        "warmup_tokens": int(setting.warmup * tokens),
        "cooldown_tokens": int(setting.cooldown * tokens),
    }
    return RunSpec.model_validate(values, strict=None)


def fewer_bytes(setting: Setting, inner_steps_per_round: float) -> float:
    """How many times fewer bytes a token than a ring all-reduce of fp32 gradients sends.

    The ring and our butterfly both send 2 (n-1)/n values for each parameter, so that cancels.
    """
    codecs = [codec_named(name) for name in (setting.contribution, setting.answer)]
    bits = sum(codec.encoded_bytes(UNIT) for codec in codecs) * 8 / UNIT
    return inner_steps_per_round * 2 * 32 / bits


def _held_out_batches(text: data.Text, spec: RunSpec) -> list[Tensor]:
    length = spec.data.sequence_length
    starts = np.linspace(0, len(text) - length, HELD_OUT_SEQUENCES, dtype=np.int64)
    tokens = data.tokens_of(text[starts[:, None] + np.arange(length)])
    return list(tokens.split(_EVALUATED_AT_ONCE))


def _array(vector: Tensor) -> FlatVector:
    array: FlatVector = vector.detach().numpy().copy()
    return array
