"""The protocol between devices and gateways, version 1: JSON and safetensors over HTTPS.

A device exchanges an invitation for a token (``POST /v1/devices``), then goes round: ask for a task and wait for it
(``POST /v1/tasks``), fetch that version of the model unless it has it (``GET /v1/models/{version}``), work, report the
result (``POST /v1/results/{ticket}``). Whatever is interrupted can be repeated: a device with an open task gets the
same task again, and a result counts once however often it is sent. :func:`openapi` is the complete description, which a
gateway serves, too.
"""

from __future__ import annotations

import functools
from typing import Any

SAFETENSORS = "application/safetensors"
MAX_JSON_BYTES = 1 << 16
"""The largest body of JSON, and the largest header of safetensors beyond what the model's tensors need."""

MAX_CONFIG_BYTES = 1 << 14
"""A larger device configuration is in ``GET /v1/job`` alone, not in each task."""

_STRING = {"type": "string"}
_VERSION_IN_PATH = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**53},
}
_TICKET_IN_PATH = {**_VERSION_IN_PATH, "name": "ticket"}


@functools.cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of the protocol."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flare edge gateway",
            "version": "1",
            "description": "Devices join, ask for tasks, fetch models and report results.",
        },
        "paths": {
            "/v1/devices": {"post": _register()},
            "/v1/devices/me": {"delete": _leave()},
            "/v1/job": {"get": _job()},
            "/v1/tasks": {"post": _tasks()},
            "/v1/models/{version}": {"get": _model()},
            "/v1/results/{ticket}": {"post": _result()},
            "/v1/openapi.json": {"get": _self()},
        },
        "components": {
            "securitySchemes": {"device": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _register() -> dict[str, Any]:
    return {
        "summary": "Exchange an invitation for a device id and a token",
        "operationId": "register",
        "security": [],
        "requestBody": _json_body("Registration"),
        "responses": {
            "201": _json("The device is registered; the token is shown once", "Registered"),
            **_errors(400, 403, 408, 409, 413, 422, 429, 503),
        },
    }


def _leave() -> dict[str, Any]:
    return {
        "summary": "Leave for good: the token is not valid any more",
        "operationId": "leave",
        "security": [{"device": []}],
        "responses": {"204": {"description": "The device has left"}, **_errors(401, 429, 503)},
    }


def _job() -> dict[str, Any]:
    return {
        "summary": "Describe the job",
        "operationId": "job",
        "security": [{"device": []}],
        "responses": {"200": _json("The job", "Job"), **_errors(401, 429, 503)},
    }


def _tasks() -> dict[str, Any]:
    return {
        "summary": "Ask for a task, and wait for one",
        "description": "A device with an open task gets the same task again. A second poll of a device ends its first.",
        "operationId": "task",
        "security": [{"device": []}],
        "requestBody": _json_body("TaskRequest"),
        "responses": {
            "200": _json("A task", "Task"),
            "204": {"description": "There is no task now: ask again"},
            **_errors(400, 401, 408, 410, 413, 422, 429, 503),
        },
    }


def _model() -> dict[str, Any]:
    return {
        "summary": "Fetch a version of the model",
        "operationId": "model",
        "security": [{"device": []}],
        "parameters": [_VERSION_IN_PATH],
        "responses": {
            "200": {
                "description": "The parameters",
                "headers": {"ETag": {"schema": _STRING}},
                "content": {SAFETENSORS: {"schema": {"type": "string", "format": "binary"}}},
            },
            "304": {"description": "The device has it: If-None-Match is its ETag"},
            **_errors(401, 404, 410, 429, 503),
        },
    }


def _result() -> dict[str, Any]:
    return {
        "summary": "Report the result of a task",
        "description": (
            "Training: safetensors of the model's names and shapes with the differences, float64 for float64 and"
            " float32 for smaller floats; the metadata num_examples (decimal) and metrics (JSON, optional) are"
            " strings. Evaluation and failure: JSON. The answer 200 means that the result is on disk and counts, once."
        ),
        "operationId": "result",
        "security": [{"device": []}],
        "parameters": [_TICKET_IN_PATH],
        "requestBody": {
            "required": True,
            "content": {
                SAFETENSORS: {"schema": {"type": "string", "format": "binary"}},
                "application/json": {
                    "schema": {"oneOf": [_reference("Evaluation"), _reference("Failure")]},
                },
            },
        },
        "responses": {
            "200": _json("The result is accepted, now or earlier", "Accepted"),
            **_errors(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
    }


def _self() -> dict[str, Any]:
    return {
        "summary": "This document",
        "operationId": "openapi",
        "security": [],
        "responses": {
            "200": {"description": "OpenAPI", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    }


def _schemas() -> dict[str, Any]:
    name = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,32}$"}
    request = {
        "type": "string",
        "minLength": 16,
        "maxLength": 128,
        "description": "A secret: the same request can be sent again if its answer is lost",
    }
    metrics = {"type": "object", "additionalProperties": {"type": "number"}, "maxProperties": 32}
    job = {"name": _STRING, "description": _STRING, "config": {"type": "object"}}
    task = {
        "ticket": {"type": "integer"},
        "kind": {"enum": ["train", "evaluate"]},
        "version": {"type": "integer"},
        "model": {"type": "string", "description": "The path of the model"},
        "config": {"type": "object", "description": f"Only if it has at most {MAX_CONFIG_BYTES} bytes; see /v1/job"},
        "answer_within_s": {"type": ["number", "null"], "description": "Later, the task has failed"},
    }
    registered = {"device": _STRING, "token": _STRING, "job": _reference("Job")}
    examples = {"type": "integer", "minimum": 1}
    return {
        "Registration": _object({"invitation": _STRING, "name": name, "request": request}, "invitation"),
        "Registered": _object(registered, *registered),
        "Job": _object(job, *job),
        "TaskRequest": _object({"wait_s": {"type": "number", "minimum": 0, "default": 0}}),
        "Task": _object(task, "ticket", "kind", "version", "model", "answer_within_s"),
        "Evaluation": _object({"num_examples": examples, "metrics": metrics}, "num_examples", "metrics"),
        "Failure": _object({"error": _STRING}, "error"),
        "Accepted": _object({"ticket": {"type": "integer"}, "accepted": {"const": True}}, "ticket", "accepted"),
        "Error": _object({"error": _STRING, "message": _STRING}, "error", "message"),
    }


_MEANINGS = {
    400: "The body is malformed",
    401: "The token is unknown or revoked",
    403: "The invitation is not valid, or the ticket is another device's",
    404: "There is no such number",
    408: "The body came too slowly",
    409: "The name is taken, or the ticket is done with another result",
    410: "The run is over, or the version is not kept",
    413: "The body is too large",
    415: "The content type is not known",
    422: "A value is not what it must be: the message names it",
    429: "Too many requests: wait as Retry-After says",
    503: "Not now: wait as Retry-After says",
}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _json(_MEANINGS[status], "Error") for status in statuses}


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _reference(schema)}}}


def _json_body(schema: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _reference(schema)}}}


def _reference(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
