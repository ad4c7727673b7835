"""The OpenAPI document of a server: exactly what its model takes and answers."""

from __future__ import annotations

from typing import Any, Final

from thalweg.app.serve.limits import Limits
from thalweg.app.serve.readers.reader import Reader

__all__ = ["document"]

_ERRORS: Final = {
    400: "The body is no JSON, or no multipart body.",
    401: "The bearer token is missing or wrong.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many samples.",
    415: "The body is of another media type.",
    422: "A sample is not what the network takes; the error names it.",
    500: "The server failed on this input.",
    503: "The queue is full, or the server is stopping; try again later.",
    504: "No answer was ready in time.",
}


def document(
    name: str, version: str, reader: Reader, limits: Limits, token: bool
) -> dict[str, Any]:
    """Return the document, OpenAPI 3.1, of a model served under a name.

    https://spec.openapis.org/oas/v3.1.0
    """
    error = {"$ref": "#/components/schemas/Error"}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": name, "version": version,
            "description": "Predictions of a network trained by Thalweg.",
        },
        "paths": {
            "/predict": {"post": _predict(reader, limits, token)},
            "/health": {"get": _get(
                "Whether the server takes requests.",
                {"200": "It does.", "503": "It is stopping."}, _HEALTH, False,
            )},
            "/metrics": {"get": _get(
                "Figures for Prometheus.", {"200": "Text format 0.0.4."}, None, token,
            )},
            "/openapi.json": {"get": _get(
                "This document.", {"200": "OpenAPI 3.1."}, {"type": "object"}, token,
            )},
        },
        "components": {"schemas": {
            "Sample": reader.schema(),
            "Prediction": reader.answer_schema(),
            "Error": {"type": "object", "required": ["error"],
                      "properties": {"error": {"type": "string"}}},
        }},
    }  # fmt: skip
    for operations in made["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400 and "content" not in response:
                    response["content"] = {"application/json": {"schema": error}}
    if token:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return made


_HEALTH: Final = {
    "type": "object", "required": ["status", "model"],
    "properties": {"status": {"enum": ["ok", "stopping"]}, "model": {"type": "string"}},
}  # fmt: skip


def _predict(reader: Reader, limits: Limits, token: bool) -> dict[str, Any]:
    sample = {"$ref": "#/components/schemas/Sample"}
    # No maxItems: too many are answered by 413, as too many bytes are, and not by 422.
    many = {"type": "array", "minItems": reader.fewest, "items": sample}
    example = reader.example()
    forms = [_only(reader.many, many)]
    examples = {"several": {"value": {reader.many: example if reader.whole else [example] * 2}}}
    if reader.one:
        forms.append(_only(reader.one, sample))
        examples["one"] = {"value": {reader.one: example}}
    content: dict[str, Any] = {
        "application/json": {"schema": {"oneOf": forms}, "examples": examples}
    }
    for kind in reader.files:
        content[kind] = {"schema": {"type": "string", "format": "binary"}}
    if reader.files:
        file = {"type": "string", "format": "binary", "contentMediaType": reader.files[0]}
        content["multipart/form-data"] = {"schema": {
            "type": "object", "required": ["file"], "properties": {"file": file},
        }}  # fmt: skip
    answers = {
        "type": "object", "required": ["predictions"],
        "properties": {
            "predictions": {"type": "array",
                            "items": {"$ref": "#/components/schemas/Prediction"}},
            "notes": {"type": "array", "items": {"type": "string"},
                      "description": "what is odd about the samples"},
        },
    }  # fmt: skip
    statuses = [s for s in _ERRORS if s != 401 or token]
    made: dict[str, Any] = {
        "summary": "Predict one sample or several.",
        "description": f"A body has at most {limits.max_body:,} bytes and {limits.rows:,} samples.",
        "operationId": "predict",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "A prediction for each sample, in order.",
                    "content": {"application/json": {"schema": answers}}},
            **{str(status): {"description": _ERRORS[status]} for status in statuses},
        },
    }  # fmt: skip
    return made | ({"security": [{"token": []}]} if token else {})


def _only(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [key], "properties": {key: schema},
            "additionalProperties": False}  # fmt: skip


def _get(
    summary: str, statuses: dict[str, str], schema: dict[str, Any] | None, token: bool
) -> dict[str, Any]:
    kind = "text/plain" if schema is None else "application/json"
    body = {kind: {"schema": schema or {"type": "string"}}}
    made: dict[str, Any] = {
        "summary": summary,
        "responses": {s: {"description": told, "content": body} for s, told in statuses.items()},
    }
    if token:
        made["security"] = [{"token": []}]
        made["responses"]["401"] = {"description": _ERRORS[401]}
    return made
