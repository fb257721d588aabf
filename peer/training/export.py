"""A model on disk, as `from_pretrained` reads it: configuration, safetensors, ByT5 tokenizer."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from torch import Tensor
from transformers.models.byt5.tokenization_byt5 import ByT5Tokenizer

from peer.training.model import FlatModel


def export_model(model: FlatModel, vector: Tensor, folder: Path) -> str:
    """Write `vector`, shape (n,), as the parameters of `model`; empty, or why it failed.

    All or nothing: a new folder beside the old one takes its place when it is complete.
    """
    if folder.exists() and not _is_ours(folder):
        return f"{folder} exists and holds no exported model; choose another folder"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(model, vector, new)
            _replace(folder, new)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        return f"the model could not be written to {folder}: {error}"
    return ""


def _is_ours(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    return not names or "config.json" in names


def _write(model: FlatModel, vector: Tensor, folder: Path) -> None:
    state = {**model.model.state_dict(), **model.views(vector)}
    model.model.save_pretrained(folder, state_dict=state)
    ByT5Tokenizer().save_pretrained(str(folder))
    folder.chmod(0o755)  # mkdtemp's folders are for their owner alone
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _replace(folder: Path, new: Path) -> None:
    old = new.with_name(f"{new.name}.old")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
