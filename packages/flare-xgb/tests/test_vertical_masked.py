"""Masked vertical training: what each party is sent tells it no more than the documentation says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core import SiteContext, SiteError
from flare_core.testing import FakeFederation
from flare_fobs import dumps, loads
from flare_xgb.data import Table
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.model import Model
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree
from flare_xgb.vertical import Vertical, VerticalExecutor
from flare_xgb.vertical.masked import SEED_BYTES, TreeSecrets, add_groups
from flare_xgb.vertical.sealing import Channel, SiteKeys

Words = npt.NDArray[np.uint64]

ROWS, ROUNDS = 400, 4
OWN, OTHER = ["age", "income"], ["visits", "basket"]


class Given:
    """A loader of a table."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def load_data(self) -> tuple[Table, None]:
        return self.table, None


class Watched(VerticalExecutor):
    """An executor that keeps what its site is sent and what it sends, opened."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.questions: list[Any] = []  # to a feature owner
        self.replies: list[dict[str, Any]] = []  # of a feature owner, or of the label owner
        self.sums: list[dict[str, Any]] = []  # that the label owner gets

    def _answer(self, data: Mapping[str, Any]) -> dict[str, Any]:
        (channel,) = self._channels.values()
        self.questions.append((data["question"], channel.open(data["step"], data["data"])))
        self.replies.append(super()._answer(data))
        return self.replies[-1]

    def _lead(self, context: SiteContext, data: Mapping[str, Any]) -> dict[str, Any]:
        self.replies.append(super()._lead(context, data))
        return self.replies[-1]

    def _opened(self, site: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        found = super()._opened(site, answer)
        self.sums += [found] if "masked" in found else []
        return found


def features() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(5)
    made = rng.normal(size=(ROWS, 4)).astype(np.float32)
    made[:, 2] = np.round(made[:, 2] * 3)
    made[rng.random(made.shape) < 0.1] = np.nan
    return made


def run(
    label: npt.NDArray[np.float32],
    *,
    weight: npt.NDArray[np.float32] | None = None,
    at_shop: type[Watched] = Watched,
    secure: str = "masked",
    **params: Any,
) -> tuple[FakeFederation, dict[str, Watched]]:
    """Train with the labels at one of two sites."""
    rows, learning = features(), {"objective": "reg:squarederror", "max_depth": 4, "reg_lambda": 0, **params}
    bank = Table.of(rows[:, :2], label, names=OWN, weight=weight)
    sites = {
        "bank": Watched(Given(bank), learning, secure=secure, joined_model=True),
        "shop": at_shop(Given(Table.of(rows[:, 2:], names=OTHER)), learning, secure=secure, joined_model=True),
    }
    fed = FakeFederation(sites, travel=lambda data: loads(dumps(data)))
    fed.run(Vertical("bank", learning, num_rounds=ROUNDS))
    return fed, sites


def targets() -> npt.NDArray[np.float32]:
    rows, rng = np.nan_to_num(features()), np.random.default_rng(6)
    return (rows[:, 0] * np.sign(rows[:, 2]) + rows[:, 3] + rng.normal(size=ROWS) * 0.1).astype(np.float32)


def trees_of(fed: FakeFederation) -> Sequence[Tree]:
    return Model.from_bytes(fed.files["model.json"].encode()).trees


def structure(fed: FakeFederation) -> list[Any]:
    return [
        [tree.left, tree.feature, tree.threshold[~tree.is_leaf], tree.default_left[~tree.is_leaf]]
        for tree in trees_of(fed)
    ]


@pytest.mark.parametrize("grow_policy", ["depthwise", "lossguide"])
def test_a_feature_owner_sees_the_same_bytes_for_other_labels_that_lead_to_the_same_splits(grow_policy: str) -> None:
    views, sizes, values = [], [], []
    weights = np.random.default_rng(8).choice(np.float32([0.25, 1, 4]), ROWS)
    for factor, heavier in ((1, 1), (-1, 1), (1 << 20, 1), (1, 4)):
        label, weight = targets() * np.float32(factor), weights * np.float32(heavier)
        fed, sites = run(label, weight=weight, grow_policy=grow_policy, min_child_weight=0)
        seeds = [data.pop("seed") for _, data in sites["shop"].questions if "seed" in data]
        assert len(set(seeds)) == len(seeds) == ROUNDS  # drawn at random for each tree
        views.append(dumps([structure(fed), sites["shop"].questions]))
        sizes.append([(task.name, len(dumps(task.data))) for site, task in fed.tasks if site == "shop"])
        values.append(dumps([[tree.values, tree.hessian] for tree in trees_of(fed)]))
    assert len(set(views)) == len({str(each) for each in sizes}) == 1
    assert len(set(values)) == 4
    assert {name for name, _ in sites["shop"].questions} == {"bins", "group", "divide", "reveal"}
    assert sites["shop"].questions[0] == ("bins", {"weight": None})


def assert_uniform(words: Words) -> None:
    """Compare the bytes with a uniform distribution by Pearson's test, at 6 standard deviations."""
    for place in range(8):
        counts = np.bincount((words >> np.uint64(8 * place)).astype(np.uint8), minlength=256)
        expected = len(words) / 256
        assert expected > 5
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert abs(chi_square - 255) < 6 * np.sqrt(2 * 255)


def test_the_test_of_uniformity_notices_what_is_not() -> None:
    for words in (np.arange(1 << 13, dtype=np.uint64), np.zeros(1 << 13, np.uint64)):
        with pytest.raises(AssertionError):
            assert_uniform(words)


@pytest.mark.parametrize("constant", [False, True])
def test_what_the_server_gets_from_the_label_owner_is_uniform_and_links_no_rows(constant: bool) -> None:
    _, sites = run(np.zeros(ROWS, np.float32) if constant else targets())
    masked = [each for reply in sites["bank"].replies for each in reply.get("masked", {}).values()]
    words = np.concatenate([each.ravel() for each in masked])
    assert len(masked) >= ROUNDS if constant else len(masked) > 3 * ROUNDS
    assert len(words) >= ROUNDS * len(OTHER) * ROWS * 2
    assert_uniform(words)
    assert len(np.unique(words)) == len(words)  # no row has a number again


def test_the_server_passes_on_nothing_that_it_can_read() -> None:
    fed, sites = run(targets(), secure="plain")
    begun = [data for name, data in sites["shop"].questions if name == "propose" and "pairs" in data]
    assert len(begun) == ROUNDS
    sent = [task.data for site, task in fed.tasks if task.name == "xgb.answer"]
    for passed_on in (sent, sites["shop"].replies):
        assert all(each["data"].dtype == np.uint8 for each in passed_on)
        assert not any(data["pairs"][0].tobytes() in dumps(each) for data in begun for each in passed_on)
    assert all(set(each) == {"session", "question", "step", "data"} for each in sent)
    assert all(set(each) == {"data"} for each in sites["shop"].replies)


def test_the_label_owner_gets_uniform_sums_whose_differences_are_the_histograms() -> None:
    _, sites = run(targets())
    for side in ("masked", "sums"):
        assert_uniform(np.concatenate([found[side].ravel() for found in sites["bank"].sums]))


def test_the_server_sees_sizes_of_groups_alone_in_a_new_order_for_each_feature_and_step() -> None:
    _, sites = run(targets())
    grouped = [reply["groups"] for reply in sites["shop"].replies if "groups" in reply]
    whole = [groups for groups in grouped if len(groups[0]) == ROWS]  # the first steps of the trees
    assert len(whole) == ROUNDS
    for feature in range(len(OTHER)):
        columns = [groups[feature] for groups in whole]
        assert len({str(sorted(np.bincount(each).tolist())) for each in columns}) == 1  # the same bins
        assert len({dumps(each) for each in columns}) == ROUNDS
    for groups in grouped:
        if len(groups[0]) != ROWS:
            assert {len(each) for each in groups} == {len(groups[0])}
            assert len(groups[0]) <= ROWS // 2  # of two siblings, the smaller one


# One tree's secrets


def channels(names: tuple[str, str] = ("bank", "shop")) -> tuple[Channel, Channel]:
    one, other = (SiteKeys(name) for name in names)
    return (
        one.channel(names[1], other.public_key, b"session"),
        other.channel(names[0], one.public_key, b"session"),
    )


def secrets_of(channel: Channel, seed: bytes, bins: list[int], threads: int = 1) -> TreeSecrets:
    return TreeSecrets(channel, seed, bins, Threads(threads))


def rows_up_to(count: int) -> npt.NDArray[np.int32]:
    return np.arange(count, dtype=np.int32)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_differences_of_masked_sums_are_the_histograms_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, bins = int(rng.integers(1, 200)), rng.integers(1, 300, int(rng.integers(1, 4))).tolist()
    codes = np.stack([rng.integers(0, size + 1, rows) for size in bins], axis=1).astype(np.uint16)
    binned = BinnedMatrix(codes, np.array(bins))
    pairs = rng.integers(-(2**62), 2**62, (rows, 2)) // rows
    node_of = rng.integers(-1, 3, rows)
    nodes = [np.flatnonzero(node_of == node).astype(np.int32) for node in range(3)]
    tree = bytes(SEED_BYTES)
    at_bank, at_shop = (secrets_of(each, tree, bins) for each in channels())
    step = int(rng.integers(0, 10))
    masked, grouped = at_bank.mask(step, nodes, pairs), at_shop.group(step, nodes, binned)
    sums = add_groups(masked, grouped.groups, grouped.sizes, grouped.seed, Threads(2))
    found = at_bank.histograms(step, len(nodes), sums, grouped.sums)
    without_missing = np.delete(found, np.cumsum(np.array(bins) + 1) - 1, axis=1)
    np.testing.assert_array_equal(without_missing, histograms(binned, pairs, nodes, Threads(1)))


def test_a_group_of_one_row_does_not_show_the_row_by_its_mask() -> None:
    at_bank, at_shop = (secrets_of(each, bytes(SEED_BYTES), [50]) for each in channels())
    binned, nodes = BinnedMatrix(np.arange(50, dtype=np.uint8)[:, np.newaxis], np.array([50])), [rows_up_to(50)]
    masks = at_bank.mask(0, nodes, np.zeros((50, 2), np.int64))
    once, again = (at_shop.group(0, nodes, binned) for _ in range(2))
    for grouped in (once, again):
        assert not np.isin(grouped.sums, masks).any()
    assert not np.isin(once.sums, again.sums).any()
    np.testing.assert_array_equal(once.groups[0], again.groups[0])


def test_nothing_is_shared_by_another_step_tree_or_pair_of_sites() -> None:
    (bank, shop), (stranger, _) = channels(), channels()

    def masked(channel: Channel, seed: bytes = bytes(SEED_BYTES), step: int = 0, threads: int = 1) -> Words:
        made = secrets_of(channel, seed, [3, 3], threads)
        return made.mask(step, [rows_up_to(20)], np.zeros((20, 2), np.int64))

    np.testing.assert_array_equal(masked(shop, threads=3), masked(bank))
    others = [masked(bank), masked(bank, step=1), masked(bank, b"1" * SEED_BYTES), masked(stranger)]
    assert len(np.unique(others)) == 4 * masked(bank).size


def test_orders_are_drawn_from_all() -> None:
    counts: dict[bytes, int] = {}
    (channel, _) = channels()
    for tree in range(600):
        made = secrets_of(channel, tree.to_bytes(SEED_BYTES, "little"), [1])
        pairs, nodes = np.arange(6).reshape(3, 2), [rows_up_to(3)]
        order = made.mask(0, nodes, pairs)[0] - made.mask(0, nodes, 0 * pairs)[0]
        counts[order.tobytes()] = counts.get(order.tobytes(), 0) + 1
    assert len(counts) == 6
    assert all(60 < count < 140 for count in counts.values())  # 4.4 standard deviations


@pytest.mark.parametrize("what", ["beyond", "short", "fewer"])
def test_groups_that_do_not_fit_fail_the_run_with_the_name_of_the_site(what: str) -> None:
    class Wrong(Watched):
        def _answer(self, data: Mapping[str, Any]) -> dict[str, Any]:
            made = super()._answer(data)
            if "groups" in made:
                groups = made["groups"]
                made["groups"] = {
                    "beyond": [np.full_like(each, 255) for each in groups],
                    "short": [each[1:] for each in groups],
                    "fewer": groups[1:],
                }[what]
            return made

    with pytest.raises(SiteError, match=r"shop: (its groups have|it grouped)"):
        run(targets(), at_shop=Wrong)


def test_a_feature_owner_that_counts_other_rows_fails_the_run_with_its_name() -> None:
    class Wrong(Watched):
        def _answer(self, data: Mapping[str, Any]) -> dict[str, Any]:
            made = super()._answer(data)
            if "groups" in made:
                made["groups"] = [np.roll(each, 1) if len(np.unique(each)) > 1 else each for each in made["groups"]]
            return made

    with pytest.raises(SiteError, match="shop: its histograms do not add up to the sums of the nodes"):
        run(targets(), at_shop=Wrong)


def test_a_message_that_was_changed_or_is_of_another_step_is_refused_with_the_name_of_the_sender() -> None:
    bank, shop = channels()
    message = bank.seal(3, {"seed": b"1"})
    assert shop.open(3, message) == {"seed": b"1"}
    changed = message.copy()
    changed[-1] ^= 1
    for step, wrong in ((4, message), (3, changed), (3, message[:5])):
        with pytest.raises(SiteError, match="shop: a message of bank cannot be opened"):
            shop.open(step, wrong)
    with pytest.raises(SiteError, match="bank: a message of shop cannot be opened"):
        bank.open(3, message)  # its own
    with pytest.raises(SiteError, match="the public key of shop is unusable"):
        SiteKeys("bank").channel("shop", bytes(32), b"session")
