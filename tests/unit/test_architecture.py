"""A spec's model section: every problem in words, nothing but a plain model gets through."""

from __future__ import annotations

from typing import Any

import pytest

from swarmpb.architecture import check_model, model_config
from swarmpb.spec import PRESETS, SpecError, preset
from tests.tiny import tiny_config, tiny_spec


def problems(architecture: str = "LlamaForCausalLM", **config: Any) -> list[str]:
    model = {"architecture": architecture, "config": tiny_config(**config)}
    return check_model(tiny_spec(model=model))


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_have_a_model(name: str) -> None:
    spec = preset(name)
    assert check_model(spec) == []
    config = model_config(spec)
    assert type(config).__name__ == "LlamaConfig"
    assert config.to_dict()["hidden_size"] == spec.model.config["hidden_size"]


def test_unknown_names_get_a_hint() -> None:
    assert problems("LlammaForCausalLM") == [
        "model.architecture: unknown: LlammaForCausalLM; did you mean LlamaForCausalLM?"
    ]
    assert problems(hiden_size=64, vocab_siz=300) == [
        "model.config.hiden_size: unknown key; did you mean hidden_size?",
        "model.config.vocab_siz: unknown key; did you mean vocab_size?",
    ]
    gpt2 = tiny_spec(
        model={"architecture": "BigBirdForCausalLM", "config": {"max_positions": 4}},
    )
    assert len(check_model(gpt2)) == 1


@pytest.mark.parametrize(
    "key",
    [
        "trust_remote_code",
        "auto_map",
        "name_or_path",
        "_name_or_path",
        "quantization_config",
        "attn_implementation",
        "_attn_implementation",
        "dtype",
        "torch_dtype",
        "architectures",
        "transformers_version",
        "is_encoder_decoder",
    ],
)
def test_no_key_brings_code_or_another_number_format(key: str) -> None:
    (problem,) = problems(**{key: "x"})
    assert problem.startswith(f"model.config.{key}: unknown key")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"hidden_size": 33}, "model.config: ValueError: The hidden size (33) is not a multiple"),
        ({"hidden_size": "wide"}, "model.config: TypeError: Field 'hidden_size' expected int"),
        ({"num_attention_heads": 0}, "model.config: "),
        ({"hidden_size": -2}, "model.config.hidden_size: -2 is not between -1 and 16777216"),
        ({"num_hidden_layers": 10**6}, "model.config.num_hidden_layers: 1000000 is not between"),
        ({"num_hidden_layers": 0}, "model.config.num_hidden_layers: 0 is below 1"),
        (
            {"num_key_value_heads": 4},
            "model.config.num_key_value_heads: 4 does not divide num_attention_heads, 2",
        ),
        ({"vocab_size": 258}, "model.config.vocab_size: 258 is below 259"),
        (
            {"max_position_embeddings": 15},
            "data.sequence_length: 16 is above model.config.max_position_embeddings, 15",
        ),
        ({"pad_token_id": 400}, "model.config.pad_token_id: 400 is not below vocab_size, 384"),
    ],
)
def test_values_that_do_not_fit_are_named(config: dict[str, Any], problem: str) -> None:
    (found,) = problems(**config)
    assert found.startswith(problem)


def test_all_problems_come_at_once() -> None:
    assert len(problems(vocab_size=3, max_position_embeddings=3, num_hidden_layers=0)) >= 3


def test_a_configuration_with_problems_is_not_built() -> None:
    with pytest.raises(SpecError, match="hiden_size"):
        model_config(tiny_spec(model={"config": tiny_config(hiden_size=3)}))
