"""Which inner and outer settings suit the demo? Peers simulated in one process.

The model, text, optimizers and evaluation are those of `peer.training`; only the network is
left out: every peer cuts at the same inner step, and the outer step's answer comes a fixed
number of inner steps later. `python -m tests.benchmarks.inner_outer NAME...`, see README.md.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from peer.training import data, muon, optimizer
from peer.training.inner import Evaluation, InnerTraining
from peer.training.model import build_model
from swarmpb.spec import RunSpec, preset

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    rate: float = 0.02
    """Peak learning rate of Muon."""
    rms: bool = False
    """Scale Muon's rate by a matrix's shape so that updates are as large as AdamW's."""
    outer: tuple[float, float] = (0.9, 0.5)
    """Outer learning rate and momentum."""
    delay: int = 3
    """Inner steps from the cut to the answer."""
    peers: int = 3
    inner_steps: int = 240
    inner_steps_per_round: int = 20
    seed: int = 1


SETTINGS = {
    "no-delay": Setting(delay=0),
    "no-delay-0.7/0.9": Setting(outer=(0.7, 0.9), delay=0),
    "base": Setting(),
    "0.7/0.9": Setting(outer=(0.7, 0.9)),
    "rate-0.01": Setting(rate=0.01),
    "rate-0.03": Setting(rate=0.03),
    "rms-0.006": Setting(rate=0.006, rms=True),
    "rms-0.01": Setting(rate=0.01, rms=True),
    "seed-2": Setting(seed=2),
    "one-peer": Setting(peers=1),
    "as-demo": Setting(inner_steps=480),
}


class Swarm:
    """Peers that share global parameters θ and outer momentum m, both of shape (n,)."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._spec = _spec(setting)
        text, held_out = data.split(data.standard_library(), self._spec)
        self._held_out = data.validation_batches(held_out, self._spec)
        self._peers = [self._peer(text, index) for index in range(setting.peers)]
        self._parameters = self._peers[0].model.vector.clone()
        self._momentum = torch.zeros_like(self._parameters)

    def train(self) -> float:
        """All rounds; the held-out loss of θ at the end, nats per byte."""
        cuts: list[Tensor] = []
        for inner_step in range(1, self._setting.inner_steps + 1):
            for peer in self._peers:
                peer.inner_step()
            if inner_step % self._setting.inner_steps_per_round == 0:
                cuts = [peer.model.vector.clone() for peer in self._peers]
                tokens = sum(peer.tokens for peer in self._peers)
            last = inner_step == self._setting.inner_steps
            if cuts and (last or self._round_age(inner_step) == self._setting.delay):
                self._outer_step(cuts, tokens)
                cuts = []
        return self._validation_loss()

    def _round_age(self, inner_step: int) -> int:
        return inner_step % self._setting.inner_steps_per_round

    def _outer_step(self, cuts: list[Tensor], tokens: int) -> None:
        rate, momentum = self._setting.outer
        gradient = self._parameters - torch.stack(cuts).mean(0)
        self._momentum = momentum * self._momentum + gradient
        self._parameters = self._parameters - rate * (gradient + momentum * self._momentum)
        for peer, cut in zip(self._peers, cuts, strict=True):
            peer.shift(self._parameters - cut, tokens, "")

    def _validation_loss(self) -> float:
        evaluation = Evaluation(self._peers[0].model, self._parameters, self._held_out)
        while (loss := evaluation.advance()) is None:
            pass
        return loss

    def _peer(self, text: data.Text, index: int) -> InnerTraining:
        model = build_model(self._spec, CPU)
        peer = InnerTraining(self._spec, model, data.TextStream(text, self._spec))
        peers = self._setting.peers
        peer.lease(list(range(index, self._setting.inner_steps * peers, peers)))
        return peer


def _spec(setting: Setting) -> RunSpec:
    """The demo's spec; warm-up and cooldown shrink with the run."""
    values = preset("demo").model_dump()
    batch = values["inner"]["batch_size"] * values["data"]["sequence_length"]
    tokens = setting.peers * setting.inner_steps * batch
    share = tokens / values["stop"]["tokens"]
    values["stop"]["tokens"] = tokens
    values["seed"] = setting.seed
    values["inner"] |= {
        "learning_rate": setting.rate,
        "warmup_tokens": int(values["inner"]["warmup_tokens"] * share),
        "cooldown_tokens": int(values["inner"]["cooldown_tokens"] * share),
    }
    return RunSpec.model_validate(values, strict=None)


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ["base"]:
        setting = SETTINGS[name]
        if setting.rms:  # no spec can ask for this, so it is put in place of the class
            rms_muon = partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
            vars(optimizer)["Muon"] = rms_muon
        else:
            vars(optimizer)["Muon"] = muon.Muon
        began = time.monotonic()
        loss = Swarm(setting).train()
        rate, momentum = setting.outer
        adjusted = " rms" if setting.rms else ""
        print(
            f"| {name} | {setting.peers} | {setting.inner_steps} | {setting.seed} "
            f"| {setting.rate}{adjusted} | {rate}/{momentum} | {setting.delay} "
            f"| {loss:.3f} | {time.monotonic() - began:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
