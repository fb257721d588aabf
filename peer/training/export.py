"""A model on disk, as `from_pretrained` reads it: configuration, safetensors, ByT5 tokenizer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from torch import Tensor
from transformers.models.byt5.tokenization_byt5 import ByT5Tokenizer

from peer.training.model import FlatModel


def export_model(model: FlatModel, vector: Tensor, folder: Path) -> str:
    """Write `model` with `vector`, shape (n,), as parameters; empty, or one line: why it failed.

    All or nothing: a new folder beside the old one takes its place when it is complete. The
    model has its own parameters again afterwards.
    """
    new = folder.with_name(f".{folder.name}.part")
    try:
        if not _may_replace(folder):
            return f"{folder} exists and holds no exported model; choose another folder"
        shutil.rmtree(new, ignore_errors=True)  # of a killed process
        new.mkdir(parents=True)
        _write(model, vector, new)
        _replace(folder, new)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        return f"the model could not be written to {folder}: {error}"
    return ""


def _may_replace(folder: Path) -> bool:
    if not folder.exists():
        return True
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    return not names or "config.json" in names


def _write(model: FlatModel, vector: Tensor, folder: Path) -> None:
    own = model.vector.clone()
    model.vector.copy_(vector)  # tied parameters follow by themselves
    try:
        model.model.save_pretrained(folder)
    finally:
        model.vector.copy_(own)
    ByT5Tokenizer().save_pretrained(str(folder))
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _replace(folder: Path, new: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
