"""The JavaScript SDK against the Python one: the same numbers, files and refusals."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from flare_edge.device.data import clusters, plane, read_csv, table_from
from flare_edge.device.filters import clip_to_norm
from flare_edge.device.programs import program_from, training_from
from flare_edge.device.randomness import generator_for
from flare_edge.device.safetensors import dumps, loads
from flare_edge.errors import EdgeError
from flare_edge.fixed_point import Scale
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.settings import GatewaySettings


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    """The page of a gateway, which nobody has joined: a place for the modules to run in."""
    gateway = Gateway("gw", tmp_path_factory.mktemp("gw"), GatewaySettings(), Scale.for_norm(1.0), {})
    yield chromium.tab(gateway.start())
    chromium.forget()
    gateway.close()


def call(page, module: str, body: str, **given):
    """The value of JavaScript in which ``m`` is a module and ``given`` are constants."""
    constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
    return page.evaluate(f"import('/static/{module}.js').then(async (m) => {{ {constants} {body} }})")


def as_data(params):
    return {name: [list(value.shape), value.ravel().tolist()] for name, value in params.items()}


PARAMS = """const params = new Map(Object.entries(given).map(
  ([name, [shape, data]]) => [name, {shape, data: Float32Array.from(data)}]));"""
FROM_BASE64 = "Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer"


@pytest.mark.parametrize(("seed", "version"), [(0, 0), (7, 3), (2**32 - 1, 10**6), (12345, 2**31)])
def test_orders_of_examples_are_equal(page, seed, version):
    body = "return [...m.generatorFor(seed, version).permutation(257)]"
    found = call(page, "programs", body, seed=seed, version=version)
    assert found == generator_for(seed, version).permutation(257).tolist()


@pytest.mark.parametrize("program", [
    {"kind": "mlp", "layers": [5, 8, 3]},
    {"kind": "mlp", "layers": [5, 8, 6, 3], "activation": "tanh"},
    {"kind": "mlp", "layers": [5, 8, 2], "loss": "squared_error"},
    {"kind": "linear", "inputs": 5},
], ids=["relu", "tanh, deep", "squared error", "linear"])  # fmt: skip
def test_training_and_metrics_agree_to_1e_5(page, program):
    """More than 50 steps, the last of an epoch smaller than the others."""
    config = {"program": program, "lr": 0.1, "epochs": 8, "batch_size": 16, "seed": 11}
    twin = program_from(config)
    if twin.loss == "cross_entropy":
        examples = clusters(107, inputs=5, classes=3, seed=2)
    else:
        examples = plane(107, inputs=5, outputs=twin.layers[-1], seed=2)
    params = twin.initial_params(4)
    rows = [
        {"input": row.tolist(), "target": target.tolist()}
        for row, target in zip(examples.inputs, examples.targets, strict=True)
    ]
    trained, measured = call(
        page, "programs", PARAMS + """
        const examples = m.packed(rows.map(({input, target}) => ({input: Float32Array.from(input), target})));
        const program = m.programFrom(config);
        const trained = m.train(program, params, examples, m.trainingFrom(config), 9);
        return [Object.fromEntries([...trained].map(([name, {data}]) => [name, [...data]])),
                m.evaluate(program, params, examples)];""",
        given=as_data(params), rows=rows, config=config,
    )  # fmt: skip
    expected = twin.train(params, examples, training_from(config), version=9)
    assert trained.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(np.float32(trained[name]).reshape(value.shape), value, atol=1e-5)
        assert not np.allclose(value, params[name], atol=1e-2)
    assert measured == pytest.approx(twin.evaluate(params, examples), abs=1e-6)


def test_files_of_one_are_read_by_the_other_bit_by_bit(page):
    rng = np.random.default_rng(0)
    params = {"0.weight": rng.normal(size=(3, 5)).astype(np.float32), "é": np.float32([1e-45, -0.0, 3e38])}
    text = base64.b64encode(dumps(params, {"version": "3"})).decode()
    written = call(page, "safetensors", f"""
        const file = new Uint8Array(m.write(m.read({FROM_BASE64}), {{num_examples: "12", metrics: '{{"loss":1}}'}}));
        return btoa(String.fromCharCode(...file));""", text=text)  # fmt: skip
    found, metadata = loads(base64.b64decode(written))
    assert metadata == {"num_examples": "12", "metrics": '{"loss":1}'}
    assert {name: (value.shape, value.tobytes()) for name, value in found.items()} == {
        name: (value.shape, value.tobytes()) for name, value in params.items()
    }


@pytest.mark.parametrize("cut", [0, 7, 40, -4])
def test_a_model_that_is_cut_off_is_refused(page, cut):
    content = dumps({"w": np.ones(4, np.float32)})[: cut or None]
    text = base64.b64encode(content if cut else b"").decode()
    assert (
        call(page, "safetensors", f"try {{ m.read({FROM_BASE64}) }} catch {{ return 'refused' }}", text=text)
        == "refused"
    )


def test_clipping_is_equal(page):
    update = {"a": np.float32([3, 4]), "b": np.float32([[12]])}
    for norm in (1.0, 12.9, 13.1):
        body = PARAMS + "return [...m.clipToNorm(norm)(params)].map(([, {data}]) => [...data]).flat()"
        found = call(page, "filters", body, given=as_data(update), norm=norm)
        expected = np.concatenate([each.ravel() for each in clip_to_norm(norm)(update).values()])
        np.testing.assert_array_equal(np.float32(found), expected)


def test_noise_has_its_standard_deviation(page):
    given = {"w": [[20000], [0.0] * 20000]}
    values = call(page, "filters", PARAMS + "return [...m.gaussianNoise(0.5)(params).get('w').data]", given=given)
    assert np.std(values) == pytest.approx(0.5, rel=0.05)
    assert abs(np.mean(values)) < 0.02


CLASSES = {"program": {"kind": "mlp", "layers": [2, 3]}}
LABELS = CLASSES | {"data": {"target": "kind", "columns": ["a", "b"], "labels": ["no", "yes"], "scale": 2}}


@pytest.mark.parametrize(("text", "config"), [
    ("1,2,0\n3,4.5,1\n\n", CLASSES),
    ('\ufeffkind;b;a\r\nyes;1;-2e-1\r\n"no";3;4\r\n', LABELS),
    ("y\tx1\tx2\n0\t1\t.5\n", CLASSES | {"data": {"target": "y"}}),
    ("1,2,2.5\n", {"program": {"kind": "linear", "inputs": 2}}),
    ("", CLASSES), ("a,b\n", CLASSES), ("1,2,0\n1,2\n", CLASSES), ("a,b,y\n1,none,0\n", CLASSES),
    ("a,y\n1,0.5\n", CLASSES),
    ("a,y\n1,-1\n", CLASSES), ("a,y\n1,0\n", LABELS), ("kind,a,b\ncat,1,2\n", LABELS), ("a,y\n1e999,0\n", CLASSES),
    ("a,y\nnan,0\n", CLASSES), ("a,y\n1_0,0\n", CLASSES), ("a,y\n0x10,0\n", CLASSES), ("a,y\n,0\n", CLASSES),
])  # fmt: skip
def test_csv_files_are_read_and_refused_alike(page, tmp_path, text, config):
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode())
    try:
        examples = read_csv(path, table_from(config))
        expected = [
            [row.tolist(), target.tolist()] for row, target in zip(examples.inputs, examples.targets, strict=True)
        ]
    except EdgeError:
        expected = "refused"
    found = call(page, "data", """
        let rows;
        try { rows = m.readCsv(text, config) } catch { return "refused" }
        return rows.map(({input, target}) => [[...input], target]);""", text=text, config=config)  # fmt: skip
    assert found == expected


@pytest.mark.parametrize("config", [
    {"program": {"kind": "forest"}, "lr": 1}, {"program": {"kind": "mlp", "layers": [4]}, "lr": 1},
    {"program": {"kind": "mlp", "layers": [4, 2], "activation": "gelu"}, "lr": 1}, {"lr": 1},
    {"program": {"kind": "linear"}, "lr": 1}, {"program": {"kind": "mlp", "layers": [4, 2]}},
    {"program": {"kind": "mlp", "layers": [4, 2]}, "lr": 0.1, "batch_size": 2.5},
    {"program": {"kind": "mlp", "layers": [4, 2]}, "lr": 0.1, "seed": -1},
])  # fmt: skip
def test_configurations_that_one_refuses_the_other_refuses(page, config):
    with pytest.raises(EdgeError):
        (program_from(config), training_from(config))
    body = "try { m.programFrom(config); m.trainingFrom(config) } catch { return 'refused' }"
    assert call(page, "programs", body, config=config) == "refused"
