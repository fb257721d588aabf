"""The OpenAPI document, with what each field means and where its figure comes from."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from coordinator.spectators import views
from coordinator.spectators.provenance import source_of

ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "One line that says what to do."}},
    "required": ["error"],
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of everything in `app` that answers with data."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Error"] = ERROR
    meanings = _meanings()
    for name, schema in schemas.items():
        for field, shape in schema.get("properties", {}).items():
            source = source_of(name, field)
            words = [meanings.get((name, field)), f"Source: {source}." if source else None]
            told = " ".join(word for word in words if word)
            if told:
                shape["description"] = told
    return document


def _meanings() -> dict[tuple[str, str], str]:
    """By class and field the docstring under a field of `views`, which Python itself drops."""
    found = {}
    for made in ast.walk(ast.parse(inspect.getsource(views))):
        if not isinstance(made, ast.ClassDef):
            continue
        for field, below in zip(made.body, made.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[made.name, field.target.id] = inspect.cleandoc(str(below.value.value))
    return found
