"""The proximal term compared with closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flare_core import ClientApiError, FLModel, ModelError, RecipeError
from flare_recipes_pt import ProximalLoss


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    return net


def test_value_and_gradient_match_the_closed_form():
    net = network()
    received = {name: value.clone() for name, value in net.state_dict().items()}
    proximal = ProximalLoss(net, mu=0.3)
    proximal.start(FLModel(params=received))
    torch.manual_seed(1)
    with torch.no_grad():
        for value in net.parameters():  # including the frozen weight, which must not count
            value.add_(torch.randn_like(value))
    loss = proximal()
    loss.backward()
    trained = {name: value for name, value in net.named_parameters() if value.requires_grad}
    assert "2.weight" not in trained
    squares = sum(float((value.detach() - received[name]).square().sum()) for name, value in trained.items())
    assert loss.item() == pytest.approx(0.15 * squares, rel=1e-6)
    for name, value in trained.items():
        torch.testing.assert_close(value.grad, 0.3 * (value - received[name]))
    assert net[2].weight.grad is None


def test_descent_converges_where_the_gradients_of_loss_and_term_cancel():
    net = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    curvature, minimum, mu, start = 2.0, 5.0, 0.5, 1.0
    proximal = ProximalLoss(net, mu)
    proximal.start(FLModel(params={"weight": torch.full((1, 1), start)}))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (curvature / 2 * (net.weight - minimum).square().sum() + proximal()).backward()
        optimizer.step()
    assert net.weight.item() == pytest.approx((curvature * minimum + mu * start) / (curvature + mu), rel=1e-9)


def test_the_reference_is_a_copy_even_if_training_changes_the_received_tensors():
    net = nn.Linear(2, 1)
    received = FLModel(params={"weight": torch.ones(1, 2), "bias": torch.zeros(1)})
    net.load_state_dict(received.params, assign=True)  # the network now shares memory with received
    proximal = ProximalLoss(net, mu=2.0)
    proximal.start(received)
    with torch.no_grad():
        net.weight.add_(1)
    assert proximal().item() == 2.0


def test_a_sum_over_a_bfloat16_network_is_not_rounded_to_bfloat16():
    net = nn.Linear(1000, 1, bias=False, dtype=torch.bfloat16)
    proximal = ProximalLoss(net, mu=2.0)
    with torch.no_grad():
        net.weight.fill_(1)
    proximal.start(FLModel(params={"weight": torch.zeros(1, 1000, dtype=torch.bfloat16)}))
    loss = proximal()
    loss.backward()
    assert (loss.item(), loss.dtype, net.weight.grad.dtype) == (1000.0, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("mu", [-0.1, float("nan"), float("inf"), "0.1"])
def test_an_invalid_mu_is_refused(mu):
    with pytest.raises(RecipeError, match="finite number of at least 0"):
        ProximalLoss(nn.Linear(1, 1), mu)


def test_errors_name_the_key_that_does_not_fit():
    proximal = ProximalLoss(nn.Linear(2, 1), mu=1)
    with pytest.raises(ClientApiError, match=r"start\(received\)"):
        proximal()
    with pytest.raises(ModelError, match="no params"):
        proximal.start(None)
    with pytest.raises(ModelError, match=r"'weight' \(it holds 'module\.weight'"):
        proximal.start(FLModel(params={"module.weight": torch.ones(1, 2)}))
    with pytest.raises(ModelError, match=r"'weight' has shape \(1, 3\).*\(1, 2\)"):
        proximal.start(FLModel(params={"weight": torch.ones(1, 3), "bias": torch.ones(1)}))


@pytest.mark.parametrize("unfreezes", [False, True])
def test_freezing_or_unfreezing_within_a_round_is_refused(unfreezes):
    net = network()
    proximal = ProximalLoss(net, mu=0.3)
    received = FLModel(params={name: value.clone() for name, value in net.state_dict().items()})
    proximal.start(received)
    changed = net[2].weight if unfreezes else net[0].weight
    changed.requires_grad_(unfreezes)
    with pytest.raises(ClientApiError, match=r"weight' was frozen or unfrozen after start\(received\)"):
        proximal()
    proximal.start(received)
    assert proximal().item() == 0


def test_small_distances_do_not_vanish_in_half_precision():
    net = nn.Linear(1000, 1, bias=False, dtype=torch.float16)
    nn.init.zeros_(net.weight)
    proximal = ProximalLoss(net, mu=2.0)
    proximal.start(FLModel(params={"weight": torch.full((1, 1000), 2.0**-14)}))  # float16 cannot hold its square
    assert proximal().item() == pytest.approx(1000 * 2.0**-28, rel=1e-6)
