"""Does a spec's model section name a model that this project can build?

Only configuration classes of `transformers` itself, and only the fields that they declare: no
key can make a peer run code, reach the network or change number formats.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any

from swarmpb.spec import RunSpec, SpecError

if TYPE_CHECKING:
    from transformers.configuration_utils import PreTrainedConfig

MIN_VOCABULARY = 259
"""ByT5 (arXiv:2105.13626): padding, end, unknown, and the 256 bytes."""
MAX_COUNT = 4096
"""Layers, heads, experts: what is built one by one must be bounded before it is built."""
MAX_SIZE = 1 << 24

_HEADS = ("attention", "key_value")


def check_model(spec: RunSpec) -> list[str]:
    """Every problem of `spec.model` in words, one line each; empty if there is none.

    Imports the configuration classes of `transformers` (seconds), builds no model.
    """
    try:
        found = _config_class(spec.model.architecture)
    except SpecError as error:
        return error.problems
    problems = _check_keys(found, spec) or _check_sizes(spec)
    if problems:
        return problems
    try:
        config = _configure(found, spec)
    except Exception as error:  # its constructor may raise anything for values from outside
        return [f"model.config: {_last_line(error)}"]
    return _check_fit(config, spec)


def model_config(spec: RunSpec) -> PreTrainedConfig:
    """The configuration of the spec's model; `SpecError` if `check_model` finds a problem."""
    problems = check_model(spec)
    if problems:
        raise SpecError(problems)
    return _configure(_config_class(spec.model.architecture), spec)


def _configure(found: type[PreTrainedConfig], spec: RunSpec) -> PreTrainedConfig:
    values: dict[str, Any] = dict(spec.model.config)
    return found(**values)


def _config_class(architecture: str) -> type[PreTrainedConfig]:
    # slow imports, and most of what this package does needs neither
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as MODELS

    types = [kind for kind, name in MODELS.items() if name == architecture]
    if not types:
        hint = _hint(architecture, list(MODELS.values()))
        raise SpecError([f"model.architecture: unknown: {architecture}{hint}"])
    classes: list[type[PreTrainedConfig]] = [CONFIG_MAPPING[kind] for kind in types]
    # several families may share a model class: take the one that it is named after
    own = architecture.removesuffix("ForCausalLM") + "Config"
    return next((found for found in classes if found.__name__ == own), classes[0])


def _check_keys(found: type[PreTrainedConfig], spec: RunSpec) -> list[str]:
    allowed = _allowed_keys(found)
    problems = []
    for key in spec.model.config:
        other_name = found.attribute_map.get(key)
        if key not in allowed:
            hint = f"; did you mean {other_name}?" if other_name else _hint(key, sorted(allowed))
            problems.append(f"model.config.{key}: unknown key{hint}")
    return problems


def _allowed_keys(found: type[PreTrainedConfig]) -> set[str]:
    from transformers.configuration_utils import PreTrainedConfig

    # fields of the base class choose number formats, outputs and other tasks: not a spec's business
    general = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    own = {field.name for field in dataclasses.fields(found)}
    rope = {"rope_theta"} if "rope_parameters" in own else set()
    return (own - general - set(found.sub_configs_defaults)) | rope


def _check_sizes(spec: RunSpec) -> list[str]:
    problems = []
    for key, value in spec.model.config.items():
        counts = key.startswith("num_") or key in ("n_layer", "n_layers", "n_head", "n_heads")
        most = MAX_COUNT if counts else MAX_SIZE
        if isinstance(value, int) and not -1 <= value <= most:
            problems.append(f"model.config.{key}: {value} is not between -1 and {most}")
    return problems


def _check_fit(config: PreTrainedConfig, spec: RunSpec) -> list[str]:
    problems = []
    vocabulary = getattr(config, "vocab_size", None)
    if not isinstance(vocabulary, int) or vocabulary < MIN_VOCABULARY:
        problems.append(
            f"model.config.vocab_size: {vocabulary} is below {MIN_VOCABULARY}, the ByT5 tokens"
        )
    longest = getattr(config, "max_position_embeddings", None)
    if isinstance(longest, int) and spec.data.sequence_length > longest:
        problems.append(
            f"data.sequence_length: {spec.data.sequence_length} is above "
            f"model.config.max_position_embeddings, {longest}"
        )
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
        value = getattr(config, key, None)
        if isinstance(value, int) and value < 1:
            problems.append(f"model.config.{key}: {value} is below 1")
    heads, shared = (getattr(config, f"num_{kind}_heads", None) for kind in _HEADS)
    if isinstance(heads, int) and isinstance(shared, int) and (shared < 1 or heads % shared):
        problems.append(
            f"model.config.num_key_value_heads: {shared} "
            f"does not divide num_attention_heads, {heads}"
        )
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        value = getattr(config, key, None)
        if isinstance(value, int) and isinstance(vocabulary, int) and value >= vocabulary:
            problems.append(f"model.config.{key}: {value} is not below vocab_size, {vocabulary}")
    return problems


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()
