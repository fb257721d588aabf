"""What spectators are shown of a run whose name had another run before."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.spectators.reading import Reading
from coordinator.storage.store import Store
from swarmpb.signing import SigningKey
from swarmpb.spec import preset


def test_a_name_that_is_used_again_shows_the_new_runs_spec(tmp_path: Path) -> None:
    first = preset("demo")
    other = first.model.model_copy(update={"architecture": "GPT2ForCausalLM"})
    second = first.model_copy(update={"model": other})
    owner = SigningKey.generate()
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as store:
        service = CoordinatorService(store)
        reading = Reading(service, store, lambda _: None, lambda _: "", lambda: 1000.0)
        service.register(sign(first, owner))
        assert reading.overview("demo").model == first.model.architecture
        service.delete("demo")
        service.register(sign(second, owner))
        assert reading.overview("demo").model == second.model.architecture
