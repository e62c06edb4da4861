"""SCAFFOLD's client side without a server: its mathematics on quadratics, and the files between rounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flare_core import ClientApiError, FLModel, ModelError, RecipeError
from flare_recipes_pt import Scaffold

SITES = [(4.0, 0.0), (0.5, 3.0)]  # curvature and minimum of each site's loss
OPTIMUM = sum(curvature * minimum for curvature, minimum in SITES) / sum(curvature for curvature, _ in SITES)
STEPS, RATE, ROUNDS = 10, 0.1, 200


def quadratic_loss(net: nn.Module, curvature: float, minimum: float) -> torch.Tensor:
    return curvature / 2 * (net.weight - minimum).square().sum()


def federation(folder, *, corrected: bool, dtype=torch.float64) -> float:
    """Run two sites with many steps a round; the server's part is written out here."""
    nets = [nn.Linear(1, 1, bias=False, dtype=dtype) for _ in SITES]
    folders = [folder / str(number) for number in range(len(SITES))]
    for each in folders:
        each.mkdir()
    helpers = [Scaffold(net, each) for net, each in zip(nets, folders, strict=True)]
    weight, control = torch.full((1, 1), 10.0, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    for round_ in range(ROUNDS):
        weights, differences = [], []
        for (curvature, minimum), net, helper in zip(SITES, nets, helpers, strict=True):
            received = FLModel(params={"weight": weight}, optimizer_params={"weight": control}, current_round=round_)
            net.load_state_dict(received.params)
            helper.start(received)
            optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
            for _ in range(STEPS):
                optimizer.zero_grad()
                quadratic_loss(net, curvature, minimum).backward()
                if corrected:
                    helper.correct()
                optimizer.step()
            weights.append(net.weight.detach().clone())
            differences.append(helper.finish(STEPS, RATE)["weight"] if corrected else torch.zeros_like(control))
        weight = torch.stack(weights).mean(dim=0)
        control = control + torch.stack(differences).mean(dim=0)
    return weight.item()


def test_it_reaches_the_optimum_where_plain_averaging_does_not(tmp_path):
    (tmp_path / "fedavg").mkdir()
    assert abs(federation(tmp_path / "fedavg", corrected=False) - OPTIMUM) > 0.1
    assert federation(tmp_path, corrected=True) == pytest.approx(OPTIMUM, abs=1e-9)


def test_rounds_match_the_paper(tmp_path):
    net = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    x, c = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.tensor([[0.5, -0.25]], dtype=torch.float64)
    scaffold = Scaffold(net, tmp_path)
    own = torch.zeros_like(x)
    for round_, gradient in enumerate([torch.tensor([[3.0, 1.0]]), torch.tensor([[-1.0, 2.0]])]):
        received = FLModel(params={"weight": x}, optimizer_params={"weight": c}, current_round=round_)
        net.load_state_dict(received.params)
        scaffold.start(received)
        for _ in range(4):
            net.weight.grad = gradient.double().clone()
            scaffold.correct()
            torch.testing.assert_close(net.weight.grad, gradient + c - own)
            with torch.no_grad():
                net.weight -= 0.1 * net.weight.grad
        wanted = own - c + (x - net.weight.detach()) / (4 * 0.1)
        torch.testing.assert_close(scaffold.finish(4, 0.1)["weight"], wanted - own)
        own = wanted
        torch.testing.assert_close(own, gradient.double())  # the mean gradient; here all steps have the same


def network(dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(dtype)
    net[2].bias.requires_grad_(False)
    return net


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["torch", "numpy", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_controls_cover_only_trained_parameters_with_their_dtype_and_device(tmp_path, dtype, form, device):
    net = network(dtype).to(device)
    params = {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}
    controls = {name: torch.full_like(value, 0.5) for name, value in params.items()}  # includes buffers
    if form == "numpy":
        controls = {name: value.float().numpy() for name, value in controls.items()}
    trained = {name for name, value in net.named_parameters() if value.requires_grad}
    scaffold = Scaffold(net, tmp_path)
    scaffold.start(FLModel(params=params, optimizer_params=None if form == "none" else controls, current_round=0))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    net(torch.randn(5, 3, dtype=dtype, device=device)).sum().backward()
    before = {name: value.grad.clone() for name, value in net.named_parameters() if name in trained}
    scaffold.correct()
    for name, gradient in before.items():
        found = net.get_parameter(name).grad
        assert (found.dtype, found.device) == (gradient.dtype, gradient.device)
        torch.testing.assert_close(found, gradient if form == "none" else gradient + 0.5)
    optimizer.step()
    difference = scaffold.finish(1, 0.01)
    assert difference.keys() == trained
    for name, value in difference.items():
        assert (value.dtype, value.device) == (dtype, net.get_parameter(name).device)
        assert torch.isfinite(value).all()


def run_round(net, scaffold, round_, gradient) -> torch.Tensor:
    params = {"weight": torch.zeros(1, 2)}
    net.load_state_dict(params)
    scaffold.start(FLModel(params=params, current_round=round_))
    with torch.no_grad():
        net.weight -= 0.5 * torch.tensor([gradient])
    scaffold.correct()
    return scaffold.finish(1, 0.5)["weight"]


def test_a_restarted_script_resumes_with_its_controls(tmp_path):
    net = nn.Linear(2, 1, bias=False)
    run_round(net, Scaffold(net, tmp_path), 0, [1.0, 2.0])
    torch.testing.assert_close(run_round(net, Scaffold(net, tmp_path), 1, [1.0, 2.0]), torch.tensor([[1.0, 2.0]]))
    scaffold = Scaffold(net, tmp_path)
    scaffold.start(FLModel(params={"weight": torch.zeros(1, 2)}, current_round=2))
    net.weight.grad = torch.zeros(1, 2)
    scaffold.correct()
    torch.testing.assert_close(net.weight.grad, -torch.tensor([[2.0, 4.0]]))


@pytest.mark.parametrize("restart", [False, True])
def test_a_repeated_round_starts_from_the_same_controls(tmp_path, restart):
    net = nn.Linear(2, 1, bias=False)
    scaffold = Scaffold(net, tmp_path)
    run_round(net, scaffold, 0, [1.0, 2.0])
    run_round(net, scaffold, 1, [5.0, 5.0])  # this result is lost
    scaffold = Scaffold(net, tmp_path) if restart else scaffold
    run_round(net, scaffold, 1, [3.0, 3.0])
    run_round(net, scaffold, 4, [0.0, 0.0])  # this site was not in rounds 2 and 3
    assert {path.name for path in tmp_path.iterdir()} == {
        "scaffold-after-round-1.safetensors",
        "scaffold-after-round-4.safetensors",
    }
    scaffold.start(FLModel(params={"weight": torch.zeros(1, 2)}, current_round=2))
    torch.testing.assert_close(scaffold._own["weight"], torch.tensor([[4.0, 5.0]]))


@pytest.mark.parametrize("restart", [False, True])
def test_rounds_whose_replies_were_not_used_are_undone(tmp_path, restart):
    net = nn.Linear(2, 1, bias=False)
    scaffold = Scaffold(net, tmp_path)
    run_round(net, scaffold, 0, [1.0, 2.0])
    run_round(net, scaffold, 1, [5.0, 5.0])  # too late
    for round_ in (2, 3):  # the reply to the second is used
        scaffold = Scaffold(net, tmp_path) if restart else scaffold
        params, unused = {"weight": torch.zeros(1, 2)}, {"not_used_since": 1}
        scaffold.start(FLModel(params=params, current_round=round_, meta=unused))
        torch.testing.assert_close(scaffold._own["weight"], torch.tensor([[1.0, 2.0]]))
        net.load_state_dict({"weight": torch.tensor([[-1.5, -1.0]])})
        scaffold.correct()
        scaffold.finish(1, 0.5)
    scaffold.start(FLModel(params={"weight": torch.zeros(1, 2)}, current_round=4))
    torch.testing.assert_close(scaffold._own["weight"], torch.tensor([[4.0, 4.0]]))


def test_controls_of_a_bfloat16_network_are_stored_in_float32(tmp_path):
    net = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    scaffold = Scaffold(net, tmp_path)
    params = {"weight": torch.zeros(1, 1, dtype=torch.bfloat16)}
    sent = 0.0
    for round_ in range(40):
        net.load_state_dict(params)
        scaffold.start(FLModel(params=params, current_round=round_))
        with torch.no_grad():
            net.weight.fill_(-0.01)
        scaffold.correct()
        sent += scaffold.finish(1, 1.0)["weight"].double().item()
    assert scaffold._own["weight"].dtype == torch.float32
    assert scaffold._own["weight"].item() == pytest.approx(sent, abs=1e-6)  # equal to the server's sum
    assert sent == pytest.approx(0.4, rel=0.01)


def test_misuse_is_refused(tmp_path):
    net = nn.Linear(2, 1)
    scaffold = Scaffold(net, tmp_path)
    for call in (scaffold.correct, lambda: scaffold.finish(1, 0.1)):
        with pytest.raises(ClientApiError, match=r"start\(received\)"):
            call()
    params = {"weight": np.zeros((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
    with pytest.raises(ModelError, match=r"optimizer_params.*'bias'"):
        scaffold.start(FLModel(params=params, optimizer_params={"weight": torch.zeros(1, 2)}))
    scaffold.start(FLModel(params=params))
    with pytest.raises(RecipeError, match="steps is 0"):
        scaffold.finish(0, 0.1)
    with pytest.raises(RecipeError, match="learning_rate is 0"):
        scaffold.finish(1, 0)


def test_a_round_with_missing_or_extra_corrections_is_refused(tmp_path):
    net = nn.Linear(2, 1)
    scaffold = Scaffold(net, tmp_path)
    received = FLModel(params={name: value.detach().clone() for name, value in net.named_parameters()})
    for calls in (0, 2, 8):  # never, in some steps only, and for each accumulated gradient
        scaffold.start(received)
        for _ in range(calls):
            scaffold.correct()
        with pytest.raises(ClientApiError, match=rf"correct\(\) was called {calls} times for 4 steps"):
            scaffold.finish(4, 0.1)
    scaffold.start(received)
    net.bias.requires_grad_(False)
    with pytest.raises(ClientApiError, match="'bias' was frozen or unfrozen after start"):
        scaffold.correct()
