"""The run spec: one canonical form, and every fault of it named at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmpb.spec import (
    MAX_SPEC_BYTES,
    PRESETS,
    RunSpec,
    SpecError,
    parse_canonical,
    parse_toml,
    preset,
    preset_text,
)
from tests.tiny import tiny_spec


def faults(*path_and_value: tuple[str, Any]) -> list[str]:
    """What is wrong with the demo spec once each `section.key` has its new value."""
    return faults_of(preset("demo").model_dump(mode="json"), *path_and_value)


def faults_of(values: dict[str, Any], *path_and_value: tuple[str, Any]) -> list[str]:
    for path, value in path_and_value:
        *sections, key = path.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[key] = value
    with pytest.raises(SpecError) as refusal:
        parse_canonical(json.dumps(values).encode())
    return refusal.value.problems


# ---- presets ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_named_after_its_run(name: str) -> None:
    assert preset(name).run_id == name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_explains_every_key_but_those_that_speak_for_themselves(name: str) -> None:
    bare, explained_above = [], ""
    for line in preset_text(name).splitlines():
        code, _, comment = line.partition("#")
        if code.startswith("["):
            explained_above = comment
        elif "=" in code and not comment and not explained_above:
            bare.append(code.strip())
    assert bare == ['description = "' + preset(name).description + '"']


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_every_key_there_is(name: str) -> None:
    spec = preset(name)
    sections = {key: type(value) for key, value in spec if hasattr(value, "model_fields_set")}
    for section, kind in sections.items():
        for key in kind.model_fields:
            text = preset_text(name)
            assert key in text, f"{section}.{key}"


def test_there_is_no_other_preset() -> None:
    with pytest.raises(KeyError):
        preset("../pyproject")


# ---- the canonical form ----------------------------------------------------------------


@pytest.mark.parametrize("spec", [preset("demo"), preset("internet"), tiny_spec()])
def test_the_canonical_form_of_what_was_read_from_it_is_the_same(spec: RunSpec) -> None:
    data = spec.canonical()
    again = parse_canonical(data)
    assert again == spec
    assert again.canonical() == data
    assert again.hash() == spec.hash()


def test_layout_and_order_of_the_owners_file_do_not_change_the_hash() -> None:
    text = preset_text("demo")
    head, *sections = text.split("\n[")
    turned = "\n[".join([head, *sorted(sections, reverse=True)])
    assert parse_toml(turned).hash() == preset("demo").hash()


def test_an_integer_that_stands_for_a_float_does_not_change_the_hash() -> None:
    text = preset_text("demo")
    assert parse_toml(text.replace("min_seconds = 2 ", "min_seconds = 2.0 ")).hash() == (
        preset("demo").hash()
    )


def test_any_value_changes_the_hash() -> None:
    hashes = {
        preset("demo").hash(),
        parse_toml(preset_text("demo").replace("seed = 1", "seed = 2")).hash(),
        parse_toml(preset_text("demo").replace("hidden_size = 128", "hidden_size = 64")).hash(),
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(
    "disfigure",
    [
        lambda data: data + b" ",
        lambda data: data.replace(b",", b", ", 1),
        lambda data: b"{" + data[data.index(b",") + 1 : -1] + b"," + data[1 : data.index(b",")]
        + b"}",
        lambda data: data.replace(b'"seed":1', b'"seed":1,"seed":1'),
        lambda data: data.replace(b'"description"', b'"d\\u0065scription"'),
        lambda data: data.replace(b'"momentum":0.5', b'"momentum":5e-1'),
    ],
    ids=["space behind", "space inside", "order", "key twice", "escapes", "number"],
)  # fmt: skip
def test_another_writing_of_the_same_spec_is_not_canonical(disfigure: Any) -> None:
    data = disfigure(preset("demo").canonical())
    assert data != preset("demo").canonical(), "nothing was disfigured"
    with pytest.raises(SpecError):
        parse_canonical(data)


# ---- faults ----------------------------------------------------------------------------


def test_every_fault_is_named_at_once() -> None:
    assert faults(
        ("run_id", "No Capitals"),
        ("seed", -1),
        ("outer.momentum", 1.0),
        ("round.codec", "fp8"),
        ("round.speed", 3),
        ("colour", "red"),
        ("stop", {}),
    ) == [
        "run_id: String should match pattern '^[a-z0-9][a-z0-9-]{0,62}$'",
        "seed: Input should be greater than or equal to 0",
        "outer.momentum: Input should be less than 1",
        "round.codec: Input should be 'fp32', 'fp16', 'int8', 'int4' or 'sparse'",
        "round.speed: unknown key",
        "stop.tokens: missing",
        "colour: unknown key",
    ]


@pytest.mark.parametrize("path", ["seed", "stop.tokens", "inner.learning_rate", "round.min_peers"])
@pytest.mark.parametrize("truth", [True, False])
def test_true_and_false_are_no_numbers(path: str, truth: bool) -> None:
    (fault,) = faults((path, truth))
    assert fault.startswith(f"{path}: ")


@pytest.mark.parametrize(
    "path",
    [
        "inner.learning_rate",
        "inner.adamw_learning_rate",
        "inner.weight_decay",
        "inner.gradient_clip",
        "outer.learning_rate",
        "outer.momentum",
        "data.validation_fraction",
        "round.min_seconds",
        "round.max_seconds",
        "round.exchange_seconds",
        "model.config.rope_theta",
        "model.config.hidden_size",
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_must_be_finite_wherever_it_stands(path: str, value: float) -> None:
    assert any(path in fault for fault in faults((path, value)))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_must_be_finite_in_an_owners_file_too(value: str) -> None:
    text = preset_text("demo").replace("hidden_size = 128", f"hidden_size = {value}")
    with pytest.raises(SpecError, match="hidden_size"):
        parse_toml(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("run_id", ""),
        ("run_id", "a" * 64),
        ("run_id", "-a"),
        ("run_id", "a/../b"),
        ("run_id", "demo\n"),
        ("description", "x" * 501),
        ("seed", 2**32),
        ("seed", 1.0),
        ("seed", "1"),
        ("model.architecture", "os.system"),
        ("model.architecture", "LlamaModel"),
        ("model.config", {str(n): n for n in range(65)}),
        ("model.config.hidden_size", None),
        ("model.config.hidden_size", {"a": 1}),
        ("data.source", "https://example.org"),
        ("data.sequence_length", 7),
        ("data.sequence_length", 10**9),
        ("data.validation_fraction", 0),
        ("data.validation_fraction", 1),
        ("inner.optimizer", "sgd"),
        ("inner.learning_rate", 0),
        ("inner.learning_rate", 10.1),
        ("inner.weight_decay", -0.1),
        ("inner.gradient_clip", 0),
        ("inner.batch_size", 0),
        ("inner.warmup_tokens", -1),
        ("outer.learning_rate", 2.1),
        ("outer.momentum", -0.1),
        ("round.target_tokens", 0),
        ("round.target_tokens", 10**15 + 1),
        ("round.min_seconds", 0),
        ("round.exchange_seconds", 0.5),
        ("round.exchange_seconds", 3601),
        ("round.min_peers", 0),
        ("round.min_peers", 65),
        ("stop.tokens", 0),
        ("stop.tokens", 1e6),
    ],
)
def test_a_value_out_of_bounds_is_the_one_fault(path: str, value: Any) -> None:
    problems = faults((path, value))
    assert problems
    assert all(path in fault for fault in problems)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ([("round.min_seconds", 21)], "round: min_seconds is above max_seconds"),
        (
            [("inner.adamw_learning_rate", None)],
            'inner: `adamw_learning_rate` goes with optimizer = "muon", and only with it',
        ),
        (
            [("inner.optimizer", "adamw")],
            'inner: `adamw_learning_rate` goes with optimizer = "muon", and only with it',
        ),
        (
            [("data.source", "downloads")],
            'data: `downloads` goes with source = "downloads", and only with it',
        ),
        (
            [("round.target_tokens", 1023)],
            "spec: round.target_tokens is below the tokens of one inner step",
        ),
        (
            [("inner.warmup_tokens", 1_100_001), ("round.target_tokens", 1023)],
            "spec: round.target_tokens is below the tokens of one inner step; "
            "inner.warmup_tokens and inner.cooldown_tokens exceed stop.tokens",
        ),
    ],
)
def test_values_that_do_not_go_together_are_named(
    changes: list[tuple[str, Any]], fault: str
) -> None:
    assert faults(*changes) == [fault]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", "file:///etc/passwd"),
        ("url", "http://a b"),
        ("sha256", "0" * 63),
        ("sha256", "G" * 64),
        ("bytes", 0),
        ("bytes", 2**40 + 1),
    ],
)
def test_a_download_has_an_address_a_size_and_a_hash(key: str, value: Any) -> None:
    good = {"url": "https://example.org/a.txt", "sha256": "0" * 64, "bytes": 3}
    data = preset("demo").model_dump(mode="json")["data"]
    (fault,) = faults(
        ("data", {**data, "source": "downloads", "downloads": [{**good, key: value}]})
    )
    assert fault.startswith(f"data.downloads.0.{key}: ")


def test_an_owners_file_may_list_downloads() -> None:
    text = preset_text("demo").replace('"python-stdlib"', '"downloads"')
    text += (
        '\n[[data.downloads]]\nurl = "https://e.org/a"\nsha256 = "' + "0" * 64 + '"\nbytes = 3\n'
    )
    spec = parse_toml(text)
    assert [it.bytes for it in spec.data.downloads] == [3]
    assert parse_canonical(spec.canonical()) == spec


def test_a_file_that_is_no_toml_says_where() -> None:
    with pytest.raises(SpecError, match=r"not valid TOML: .*line 2"):
        parse_toml("run_id = 'a'\nseed = = 3")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 30_000, b"[]", b"3", b"null"])
def test_published_bytes_that_are_no_spec_are_refused(data: bytes) -> None:
    with pytest.raises(SpecError):
        parse_canonical(data)


def test_a_number_of_many_thousand_digits_is_refused() -> None:
    data = preset("demo").canonical().replace(b'"seed":1', b'"seed":' + b"9" * 5000)
    with pytest.raises(SpecError, match="not valid JSON"):
        parse_canonical(data)
    text = preset_text("demo").replace("seed = 1", "seed = " + "9" * 5000)
    with pytest.raises(SpecError, match="not valid TOML"):
        parse_toml(text)


@pytest.mark.parametrize("path", ["description", "run_id", "model.config.a", "model.architecture"])
def test_half_a_character_is_refused(path: str) -> None:
    assert faults((path, "\ud800"))


def test_half_a_character_is_no_key() -> None:
    assert faults(("\ud800", 1))
    assert faults(("model.config.\ud800", 1))


def test_tables_nested_without_end_are_refused() -> None:
    with pytest.raises(SpecError):
        parse_toml("a = " + "[" * 20_000)


@given(st.binary(max_size=200))
def test_garbage_is_a_spec_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(SpecError):
        parse_canonical(data)


def test_an_oversized_spec_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(SpecError, match=f"at most {MAX_SPEC_BYTES} are allowed"):
        parse_canonical(b"[" * (MAX_SPEC_BYTES + 1))


def test_an_oversized_owners_file_is_refused() -> None:
    text = preset_text("demo").replace("hidden_size = 128", f'note = "{"x" * MAX_SPEC_BYTES}"')
    with pytest.raises(SpecError, match=f"more than {MAX_SPEC_BYTES} bytes"):
        parse_toml(text)


def test_a_spec_cannot_be_changed() -> None:
    spec = preset("demo")
    with pytest.raises(ValueError, match="frozen"):
        spec.round.min_peers = 1


# ---- the schedule ----------------------------------------------------------------------


def schedule(warmup: int = 1000, cooldown: int = 2000) -> RunSpec:
    return tiny_spec(
        inner={"warmup_tokens": warmup, "cooldown_tokens": cooldown}, stop={"tokens": 10_000}
    )


@pytest.mark.parametrize(
    ("tokens", "factor"),
    [
        (0, 0.001),
        (499, 0.5),
        (999, 1.0),
        (5000, 1.0),
        (8000, 1.0),
        (9000, 0.5),
        (9999, 0.0005),
        (10_000, 0.0),
        (12_000, 0.0),
    ],
)
def test_the_rate_rises_stays_and_falls(tokens: int, factor: float) -> None:
    assert schedule().learning_rate_factor(tokens) == pytest.approx(factor)


def test_without_warm_up_and_cooldown_the_rate_is_constant() -> None:
    constant = schedule(0, 0)
    assert {constant.learning_rate_factor(tokens) for tokens in (0, 1, 9999, 20_000)} == {1.0}


@given(st.integers(0, 10**15), st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_factor_stays_between_nothing_and_all(tokens: int, warmup: int, cooldown: int) -> None:
    if warmup + cooldown <= 10_000:
        assert 0 <= schedule(warmup, cooldown).learning_rate_factor(tokens) <= 1


@pytest.mark.parametrize(
    ("tokens", "factor"), [(4000, 1.0), (5000, 1.0), (5500, 0.5), (6000, 0.0), (9000, 0.0)]
)
def test_an_end_that_its_owner_brings_forward_lets_the_rate_fall_sooner(
    tokens: int, factor: float
) -> None:
    assert schedule().learning_rate_factor(tokens, 6000, 1000) == pytest.approx(factor)


def test_an_end_without_a_cooldown_of_its_own_has_that_of_the_spec() -> None:
    assert schedule().learning_rate_factor(5000, stop_tokens=6000) == pytest.approx(0.5)


@given(st.integers(0, 12_000), st.integers(1, 10_000), st.integers(0, 10_000))
def test_an_end_that_is_brought_forward_never_raises_the_rate(
    tokens: int, stop: int, cooldown: int
) -> None:
    """Also in the middle of the spec's own cooldown, where it is down already."""
    spec = schedule()
    assert spec.learning_rate_factor(tokens, stop, cooldown) <= spec.learning_rate_factor(tokens)


def test_an_end_that_is_put_off_goes_on_at_the_full_rate() -> None:
    assert schedule().learning_rate_factor(10_000, 20_000, 1000) == 1.0
