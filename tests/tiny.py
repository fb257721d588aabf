"""A run spec that trains in milliseconds, for tests of the trainer."""

from __future__ import annotations

from typing import Any

from swarmpb.spec import RunSpec


def tiny_spec(**sections: dict[str, Any]) -> RunSpec:
    """One layer of width 32, two sequences of 16 tokens; `sections` replace or add keys."""
    spec: dict[str, Any] = {
        "run_id": "tiny",
        "seed": 7,
        "model": {"architecture": "LlamaForCausalLM", "config": tiny_config()},
        "data": {"source": "python-stdlib", "sequence_length": 16, "validation_fraction": 0.02},
        "inner": {
            "optimizer": "muon",
            "learning_rate": 0.02,
            "adamw_learning_rate": 0.003,
            "weight_decay": 0.01,
            "gradient_clip": 1.0,
            "batch_size": 2,
            "warmup_tokens": 128,
            "cooldown_tokens": 0,
        },
        "outer": {"learning_rate": 0.9, "momentum": 0.5},
        "round": {
            "target_tokens": 640,
            "min_seconds": 0.1,
            "max_seconds": 10,
            "exchange_seconds": 5,
            "min_peers": 2,
            "codec": "int8",
        },
        "stop": {"tokens": 1_000_000},
    }
    for name, values in sections.items():
        spec[name] = {**spec[name], **values}
    return RunSpec.model_validate(spec, strict=None)


def tiny_config(**values: Any) -> dict[str, Any]:
    """The model's configuration; `values` replace or add keys."""
    return {
        "vocab_size": 384,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 1,
        **values,
    }
