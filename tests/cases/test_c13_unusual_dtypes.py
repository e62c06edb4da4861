"""C13: dtypes beyond numpy's own survive a round trip bit for bit, small or large, from torch or numpy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from flare_core import JobFailed

torch = pytest.importorskip("torch")

from flare_recipes_pt import FedAvgRecipe  # noqa: E402

SCRIPT = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        flare.send(flare.FLModel(params=flare.receive().params))
"""


def patterns(count):
    """Return every kind of value: NaN with payload, minus zero, infinities, subnormals."""
    generator = torch.Generator().manual_seed(1)

    def raw(dtype, width):
        return torch.randint(0, 256, (count * width,), dtype=torch.uint8, generator=generator).view(dtype)

    return {
        "float8_e4m3fn": raw(torch.float8_e4m3fn, 1),
        "float8_e5m2": raw(torch.float8_e5m2, 1),
        "bfloat16": raw(torch.bfloat16, 2),
        "float16": raw(torch.float16, 2),
        "float64": raw(torch.float64, 8),
        "complex64": raw(torch.complex64, 8),
        "uint16": raw(torch.uint16, 2),
        "int8": raw(torch.int8, 1),
        "bool": torch.randint(0, 2, (count,), generator=generator).bool(),
    }


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("count", [64, 200_000], ids=["inline", "fetched"])
@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_a_script_receives_the_exact_bits(project, count, external):
    script = project.write(
        "client.py",
        """
        import hashlib, torch
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            params = flare.receive().params
            for name, tensor in params.items():
                raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
                with open(f"{name}.seen", "w") as file:
                    file.write(f"{tensor.dtype} {hashlib.sha256(raw).hexdigest()}")
            flare.send(flare.FLModel(metrics={"accuracy": 1.0}, params={}))
        """,
    )
    initial = patterns(count)
    recipe = FedAvgRecipe(
        name="bits", min_clients=1, num_rounds=1, initial_model=initial, train_script=script,
        launch_external_process=external,
    )  # fmt: skip
    run = recipe.execute(project.env(1))
    import hashlib

    for name, tensor in initial.items():
        seen = (run.get_result() / "sites" / "site-1" / f"{name}.seen").read_text()
        assert seen == f"{tensor.dtype} {hashlib.sha256(bits(tensor)).hexdigest()}", name
    kept = run.load_model()
    assert all(
        kept[name].dtype == tensor.dtype and bits(kept[name]) == bits(tensor) for name, tensor in initial.items()
    )


@pytest.mark.parametrize("count", [8, 400_000], ids=["inline", "fetched"])
def test_the_mean_of_bfloat16_is_bfloat16(project, count):
    script = project.write(
        "client.py",
        """
        import torch
        import flare_core.client as flare

        flare.init()
        value = 1.0 if flare.get_site_name() == "site-1" else 2.0
        while flare.is_running():
            params = {name: torch.full_like(tensor, value) for name, tensor in flare.receive().params.items()}
            flare.send(flare.FLModel(params=params))
        """,
    )
    initial = {"bf16": torch.zeros(count, dtype=torch.bfloat16), "fp8": torch.zeros(count).to(torch.float8_e5m2)}
    recipe = FedAvgRecipe(name="bf16", min_clients=2, num_rounds=1, initial_model=initial, train_script=script)
    model = recipe.execute(project.env()).load_model()
    assert model["bf16"].dtype == torch.bfloat16
    assert torch.equal(model["bf16"], torch.full((count,), 1.5, dtype=torch.bfloat16))
    assert model["fp8"].dtype == torch.float8_e5m2
    assert torch.equal(model["fp8"].float(), torch.full((count,), 1.5))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.complex64, np.uint16, np.float16])
@pytest.mark.parametrize("count", [8, 400_000])
def test_numpy_recipes_accept_them_too(project, dtype, count):
    initial = {"w": np.ones(count, dtype)}
    model = project.recipe(SCRIPT, initial_model=initial).execute(project.env()).load_model()
    assert model["w"].dtype == np.dtype(dtype)
    assert model["w"].tobytes() == initial["w"].tobytes()


def test_an_unsupported_dtype_is_named(project):
    script = project.write(
        "client.py",
        """
        import torch
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            flare.receive()
            flare.send(flare.FLModel(params={"layer.w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}))
        """,
    )
    recipe = FedAvgRecipe(
        name="q", min_clients=1, num_rounds=1, initial_model={"layer.w": torch.ones(2)}, train_script=script
    )
    with pytest.raises(JobFailed, match=r"(?s)layer\.w.*qint8"):
        recipe.execute(project.env(1))
