"""A whole run with real executors in one process: results, who learns what, faults and lies."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat

import numpy as np
import pytest
import reference
from parties import common, federation, parties, result_of

from flare_core import FlareError
from flare_core.testing import WorkflowConformance, resumed
from flare_psi.agreement import Agreement
from flare_psi.ids.items import encode
from flare_psi.site import outbox
from flare_psi.site.folder import SiteFiles
from flare_psi.workflow import Intersect

ITEMS = {
    "site-1": ["ann", "bob", "bob", "cleo", "dora"],
    "site-2": ["bob", "dora", "bob", "bob", "eve"],
    "site-3": ["dora", "fay", "bob"],
}


def run(network, workflow=None, sent=None):
    fed = federation(network, sent)
    fed.run(workflow or Intersect())
    return fed


def ids(network):
    return {site: [line.split(",")[0] for line in lines] for site, lines in common(network).items()}


def test_all_sites_get_the_common_ids_once_and_in_the_same_order(tmp_path):
    network = parties(tmp_path, ITEMS)
    fed = run(network)
    found = ids(network)
    assert sorted(found["site-1"]) == ["bob", "dora"]
    assert found["site-1"] == found["site-2"] == found["site-3"]
    assert [metric.value for metric in fed.metrics if metric.key == "intersection"] == [2.0]


def test_the_result_tells_the_first_row_and_the_number_of_rows_at_the_site(tmp_path):
    network = parties(tmp_path, ITEMS)
    run(network)
    assert sorted(common(network)["site-2"]) == ["bob,0,3", "dora,1,1"]
    summary = json.loads((network["site-2"].folder / "intersection.json").read_text())
    assert [summary[name] for name in ("intersection", "distinct", "rows", "duplicates")] == [2, 3, 5, 2]


def test_the_server_gets_the_digests_of_the_slow_reference(tmp_path):
    network, sent = parties(tmp_path, {"site-1": ["a", "é"], "site-2": ["é"]}), []
    secrets = [int.from_bytes(SiteFiles(each.folder).secret()[0], "big") for each in network.values()]
    fed = run(network, sent=sent)
    terms = Agreement("job", ("site-1", "site-2"), "ids", ("site-1", "site-2"), 1, (), False, None)
    assert json.loads(fed.files["psi.json"])["terms"] == json.loads(terms.text)
    for text in ("a", "é"):
        digest = reference.digest(encode([text]), terms.tag, secrets)
        assert any(digest in payload for payload in sent)


@pytest.mark.parametrize("block_size", [1, 2, 3, 1000])
def test_the_size_of_blocks_does_not_matter(tmp_path, block_size):
    network = parties(tmp_path, ITEMS)
    run(network, Intersect(block_size=block_size))
    assert sorted(ids(network)["site-3"]) == ["bob", "dora"]


@pytest.mark.parametrize("sizes", [(1000, 10), (10, 1000)])
def test_sets_of_very_different_sizes(tmp_path, sizes):
    rows = [[f"{site} {number}" for number in range(size - 3)] for site, size in zip("ab", sizes, strict=True)]
    network = parties(tmp_path, {f"site-{at}": [*each, "x", "y", "z"] for at, each in enumerate(rows)})
    run(network, Intersect(block_size=64))
    found = ids(network)
    assert sorted(found["site-0"]) == ["x", "y", "z"]
    assert found["site-0"] == found["site-1"]


@pytest.mark.parametrize("items", [["a"], []])
def test_a_site_with_one_id_or_none(tmp_path, items):
    network = parties(tmp_path, {"site-1": items, "site-2": ["a", "b"]})
    run(network)
    assert ids(network) == {"site-1": items, "site-2": items}


def test_ids_are_exact_strings(tmp_path):
    one, other = ["a", "A ", "1", "é", "x\ny"], ["A", "a ", "01", "e\u0301", "x\ny"]
    network = parties(tmp_path, {"site-1": one, "site-2": other})
    run(network)
    assert (network["site-1"].folder / "intersection.csv").read_text().splitlines()[1:] == ['"x', 'y",4,1']


def test_keys_of_several_parts_are_not_their_concatenation(tmp_path):
    items = {"site-1": [("ab", "c"), ("x", "y")], "site-2": [("a", "bc"), ("x", "y")]}
    network = parties(tmp_path, items, columns=["first", "last"])
    run(network)
    assert (network["site-1"].folder / "intersection.csv").read_text() == "first,last,first_row,rows\nx,y,1,1\n"


def test_normalised_spellings_are_one_id(tmp_path):
    items = {"site-1": [("Ann@Example.org", "1.2.1990")], "site-2": [(" ann@example.ORG", "1990-02-01")]}
    network = parties(tmp_path, items, columns=["mail", "born"], normalize=["email", "date:%Y-%m-%d|%d.%m.%Y"])
    fed = run(network)
    assert common(network)["site-1"] == ["ann@example.org,1990-02-01,0,1"]
    assert json.loads(fed.files["psi.json"])["terms"]["normalisation"] == ["email", "date:%Y-%m-%d|%d.%m.%Y"]


def test_only_receivers_learn_the_result(tmp_path):
    network = parties(tmp_path, ITEMS, receivers=["site-2"])
    run(network, Intersect(receivers=["site-2"]))
    assert sorted(line.split(",")[0] for line in result_of(network["site-2"])) == ["bob", "dora"]
    for site in ("site-1", "site-3"):
        assert not (network[site].folder / "intersection.csv").exists()
        assert json.loads((network[site].folder / "intersection.json").read_text())["intersection"] is None
        assert network[site].logged == {}


def test_with_cardinality_sites_learn_the_number_alone_and_digests_come_in_no_order_of_ids(tmp_path):
    network, sent = parties(tmp_path, ITEMS, result="cardinality"), []
    run(network, Intersect(result="cardinality"), sent)
    for each in network.values():
        assert not (each.folder / "intersection.csv").exists()
        assert json.loads((each.folder / "intersection.json").read_text())["intersection"] == 2


def test_digests_for_a_cardinality_are_sorted(tmp_path):
    network = parties(tmp_path, {"site-1": map(str, range(50)), "site-2": map(str, range(50))}, result="cardinality")
    fed = federation(network)
    replies = {}
    original = network["site-1"]
    fed = federation({site: recording(each, replies) for site, each in network.items()})
    fed.run(Intersect(result="cardinality"))
    assert original.logged == {"match_rate": 1.0}
    for site in network:
        rows = [each.tobytes() for each in replies[site]["digests"]]
        assert rows == sorted(rows)


def recording(party, replies):
    def do(task):
        reply = party(task)
        if task.name == "psi.digests":
            replies[party.party] = reply
        return reply

    return do


def test_rows_that_are_left_out_are_counted(tmp_path):
    network = parties(tmp_path, {"site-1": ["a", "b@c"], "site-2": ["", "b@c", "d"]}, normalize=["email"])
    fed = run(network)
    assert network["site-2"].warnings == ["2 of 3 rows have no id that can be used, and are left out"]
    assert json.loads(fed.files["psi.json"])["sites"]["site-2"]["left_out"] == 2


def test_a_site_whose_rows_have_no_usable_id_ends_the_run_before_anything_is_computed(tmp_path):
    items = {"site-1": [("ann", "1990-02-01")], "site-2": [("ann", "1.2.1990"), ("bob", "3.4.1991"), ("", "1.1.1990")]}
    network = parties(tmp_path, items, columns=["name", "born"], normalize=["trim", "date:%Y-%m-%d"])
    with pytest.raises(FlareError) as error:
        run(network)
    assert str(error.value).endswith(
        "site-2: no row has an id that can be used; all 3 rows are left out: 1 where the value is empty in column"
        " 'name', 2 where the rule 'date:%Y-%m-%d' refuses the value in column 'born'; give normalize rules that fit"
        " the values, or name another column"
    )
    assert network["site-1"].answers == network["site-2"].answers == []
    assert not (network["site-1"].folder / "intersection.csv").exists()


def test_the_number_of_rows_without_a_usable_id_stays_hidden_by_padding(tmp_path):
    network = parties(tmp_path, {"site-1": ["ann@example.org"], "site-2": ["ann", " "]}, normalize=["email"], pad_to=8)
    with pytest.raises(FlareError, match=r"site-2: no row .* all rows are left out: where the value is empty"):
        run(network)


def test_padding_hides_the_number_of_ids(tmp_path):
    network = parties(tmp_path, ITEMS | {"site-2": [*ITEMS["site-2"], ""]}, pad_to=8)
    fed = run(network)
    assert network["site-2"].warnings == ["some rows have no id that can be used, and are left out"]
    report = json.loads(fed.files["psi.json"])
    assert [each["size"] for each in report["sites"].values()] == [8, 8, 8]
    assert {each[name] for each in report["sites"].values() for name in ("rows", "duplicates", "left_out")} == {None}
    assert all(each.logged == {} for each in network.values())
    assert sorted(ids(network)["site-1"]) == ["bob", "dora"]


def test_a_salt_changes_the_hashed_messages_and_warns_of_its_limits(tmp_path):
    salt = tmp_path / "salt"
    salt.write_bytes(bytes(range(32)))
    network = parties(tmp_path, ITEMS, salt=str(salt))
    run(network)
    assert sorted(ids(network)["site-1"]) == ["bob", "dora"]
    assert "puts guesses into its own file" in network["site-1"].warnings[0]


def test_sites_with_different_salts_are_told_before_anything_is_computed(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(hashlib.sha256(name.encode()).digest())
    per_site = {"site-1": {"salt": str(tmp_path / "one")}, "site-2": {"salt": str(tmp_path / "other")}}
    network = parties(tmp_path, {"site-1": ["a"], "site-2": ["a"]}, per_site=per_site)
    with pytest.raises(FlareError, match="site-2: has another salt than site-1"):
        run(network)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is not a file"), (b"short", "has 5 bytes; make one of at least")]
)
def test_a_salt_that_cannot_be_used_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "salt").write_bytes(content)
    network = parties(tmp_path, ITEMS, salt=str(tmp_path / "salt"))
    with pytest.raises(FlareError, match=f"site-1.*{message}"):
        run(network)


def test_sites_with_other_rules_are_told(tmp_path):
    per_site = {"site-2": {"normalize": ["case"]}}
    network = parties(tmp_path, {"site-1": ["a"], "site-2": ["a"]}, per_site=per_site)
    with pytest.raises(FlareError, match="site-2: has another terms than site-1"):
        run(network)


@pytest.mark.parametrize("where", ["recipe", "config"])
def test_a_site_can_demand_a_minimum_and_then_nobody_learns_anything(tmp_path, where):
    if where == "recipe":
        network = parties(tmp_path, ITEMS, per_site={"site-3": {"min_intersection": 3}})
    else:
        network = parties(tmp_path, ITEMS, config={"site-3": {"psi_min_intersection": 3}})
    with pytest.raises(FlareError, match="site-3: demands an intersection of at least 3 ids"):
        run(network)
    for each in network.values():
        assert not list(each.folder.glob("intersection*"))
        assert [path.name for path in (each.folder / "psi-work").iterdir()] == ["done.json"]


def test_the_secret_and_the_ids_are_private_and_deleted_at_the_end(tmp_path):
    network = parties(tmp_path, ITEMS)
    for site, each in network.items():
        files = SiteFiles(each.folder)
        files.secret()
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (files.folder, files.folder / "secret")]
        assert modes == [0o700, 0o600], site
    run(network)
    for each in network.values():
        assert [path.name for path in (each.folder / "psi-work").iterdir()] == ["done.json"]


def test_what_passes_the_server_holds_no_id_no_hash_of_one_and_no_point(tmp_path):
    people = {
        f"site-{at}": [f"person-{number:05}@clinic.example" for number in range(at, 300 + at)] for at in (1, 2, 3)
    }
    network, sent = parties(tmp_path, people), []
    run(network, Intersect(block_size=100), sent)
    everything = b"\0".join(sent)
    assert len(everything) > 3 * 300 * 16
    for text in {each for own in people.values() for each in own}:
        key = encode([text])
        for data in (
            text.encode(),
            *(hashlib.new(name, each).digest()[:8] for name in ("sha256", "blake2b") for each in (key, text.encode())),
        ):
            assert data not in everything
            assert data.hex().encode() not in everything
    points = [
        block[at : at + 33] for each in network.values() for block in each.answers for at in range(0, len(block), 33)
    ]
    assert len(points) == 2 * 3 * 300  # each id passes between two pairs of sites
    assert not [point for point in points if point in everything]


def test_only_the_next_site_can_fetch_points(tmp_path):
    network = parties(tmp_path, ITEMS)
    SiteFiles(network["site-1"].folder).put_block(0, 0, b"points")
    assert network["site-1"].ask("site-2", outbox.TOPIC, [0, 0]) == b"points"
    for other in ("server", "site-3"):
        with pytest.raises(FlareError, match=f"{other} is not the site after site-1"):
            network["site-1"].ask(other, outbox.TOPIC, [0, 0])


def test_points_of_a_site_alone_do_not_show_which_ids_two_sites_share(tmp_path):
    network = parties(tmp_path, {"site-1": ["a", "b"], "site-2": ["a", "b"]})
    run(network)
    answers = [{answer[at : at + 33] for answer in each.answers for at in (0, 33)} for each in network.values()]
    assert not answers[0] & answers[1]


class Lying:
    """A site that hands out other bytes than its points."""

    def __init__(self, party, change):
        self.party, self.change = party, change

    def ask(self, sender, topic, data):
        return self.change(self.party.ask(sender, topic, data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points: points[:-1], "site-1: sent 65 bytes where 2 points were expected"),
        (lambda points: points + points[:33], "site-1: sent 99 bytes"),
        (lambda points: 7, "site-1: sent int bytes"),
        (lambda points: bytes(66), "site-1: sent a malformed point, block 0: the bytes at place 0 are no point"),
        (lambda points: points[:33] + b"\2" + bytes(31) + b"\5", "site-1: sent a malformed point"),
        (lambda points: points[:33] * 2, "site-1: has an id twice among its distinct ids"),
    ],
)
def test_a_site_that_sends_no_points_is_named(tmp_path, change, message):
    network = parties(tmp_path, {"site-1": ["a", "b"], "site-2": ["a", "c"]})
    network["site-1"].network = network
    real = network["site-1"]
    network["site-1"] = Lying(real, change)
    with pytest.raises(FlareError, match=message):
        federation({"site-1": real, "site-2": network["site-2"]}).run(Intersect())


def test_a_digest_too_few_names_the_site_that_delivers(tmp_path):
    network = parties(tmp_path, ITEMS)
    one = network["site-1"]

    def short(task):
        reply = one(task)
        return {"digests": reply["digests"][1:]} if task.name == "psi.digests" else reply

    with pytest.raises(FlareError, match=r"site-1: delivers uint8 \(2, 16\) for the 3 ids of site-2"):
        federation(network | {"site-1": short}).run(Intersect())


@pytest.mark.parametrize(
    ("task", "reply"),
    [
        ("psi.prepare", {}),
        ("psi.prepare", [1]),
        ("psi.prepare", {"size": -1}),
        ("psi.prepare", {"size": "3"}),
        ("psi.prepare", {"terms": '{"sites":["site-2","site-1","site-3"]}'}),
        ("psi.prepare", {"rows": [3]}),
        ("psi.pass", None),
        ("psi.pass", {"missing": [1]}),
        ("psi.digests", {"digests": "x"}),
        ("psi.digests", {}),
        ("psi.digests", 7),
    ],
)
def test_a_reply_of_another_form_names_the_site(tmp_path, task, reply):
    network = parties(tmp_path, ITEMS)
    one = network["site-1"]

    def other(given):
        true = one(given)
        if given.name != task:
            return true
        return true | reply if task == "psi.prepare" and reply and isinstance(reply, dict) else reply

    with pytest.raises(FlareError, match="site-1: "):
        federation(network | {"site-1": other}).run(Intersect())


@pytest.mark.parametrize("positions", [[7], [-1]])
def test_a_site_refuses_places_that_it_does_not_have(tmp_path, positions):
    network = parties(tmp_path, ITEMS)
    one = network["site-1"]

    def misled(task):
        if task.name == "psi.finish":
            task.data["positions"] = np.array(positions)
        return one(task)

    with pytest.raises(FlareError, match="the server sent places beyond the 4 ids"):
        federation(network | {"site-1": misled}).run(Intersect())


@pytest.mark.parametrize(
    ("agreed", "told", "message"),
    [
        (
            {"receivers": ["site-1"]},
            Intersect(),
            "site-2: the server sent the result, but the sites agreed",
        ),
        ({"result": "cardinality"}, Intersect(), "the server sent places of ids, but the sites agreed"),
    ],
)
def test_a_site_learns_no_more_than_the_sites_have_agreed_on(tmp_path, agreed, told, message):
    network = parties(tmp_path, {"site-1": ["a"], "site-2": ["a"]}, **agreed)
    with pytest.raises(FlareError, match=message):
        run(network, told)
    assert not (network["site-2"].folder / "intersection.csv").exists()


@pytest.mark.parametrize("minimum", ["two", -1, True, None])
def test_a_minimum_of_a_site_that_is_no_number_is_named(tmp_path, minimum):
    network = parties(tmp_path, ITEMS, config={"site-3": {"psi_min_intersection": minimum}})
    with pytest.raises(FlareError, match=r"site-3: psi_min_intersection is .* in the site's settings; give an integer"):
        run(network)


def test_one_site_alone_and_unknown_receivers_are_refused(tmp_path):
    with pytest.raises(FlareError, match="site-1 is alone"):
        run(parties(tmp_path, {"site-1": ["a"]}))
    with pytest.raises(FlareError, match="receivers names 'site-9'; the sites are site-1, site-2, site-3"):
        run(parties(tmp_path, ITEMS), Intersect(receivers=["site-9"]))


class Killed:
    """A site whose process is killed before each of its tasks, or after it, and started again."""

    def __init__(self, party, when):
        self.party, self.when = party, when

    def __call__(self, task):
        if self.when == "before":
            self.party.start()
        reply = self.party(task)
        if self.when == "after":
            self.party.start()
            reply = self.party(task)  # the reply was lost, so the task comes again
        return reply


@pytest.mark.parametrize("when", ["before", "after"])
def test_sites_that_are_killed_all_the_time_change_nothing(tmp_path, when):
    network = parties(tmp_path, ITEMS)
    made = {site: Killed(each, when) if site != "site-1" else each for site, each in network.items()}
    federation(made).run(Intersect(block_size=2))
    assert sorted(ids(network)["site-2"]) == ["bob", "dora"]
    assert ids(network)["site-1"] == ids(network)["site-3"]


def test_a_step_is_done_again_when_the_site_before_was_lost(tmp_path):
    network = parties(tmp_path, ITEMS)
    one, times = network["site-1"], []

    def flaky(task):
        if task.name == "psi.pass" and task.data["step"] == 0:
            times.append(one.is_lost)
            one.is_lost = True  # until it is asked to prepare again
        if task.name == "psi.prepare":
            one.is_lost = False
        return one(task)

    federation(network | {"site-1": flaky}).run(Intersect())
    assert times == [False]
    assert sorted(ids(network)["site-2"]) == ["bob", "dora"]


def test_a_site_that_lost_its_folder_ends_the_run_with_its_name(tmp_path):
    network = parties(tmp_path, ITEMS)
    one = network["site-1"]

    def forgetful(task):
        if task.name == "psi.pass" and task.data["block"] == 1 and (one.folder / "psi-work" / "keys.bin").exists():
            shutil.rmtree(one.folder / "psi-work")
            one.start()
        return one(task)

    with pytest.raises(FlareError, match="site-1: was started again without the files of its run folder"):
        federation(network | {"site-1": forgetful}).run(Intersect(block_size=2))


def test_the_server_can_be_killed_after_each_round(tmp_path):
    for after in range(3):
        network = parties(tmp_path / str(after), ITEMS)
        fed = federation(network)
        resumed(lambda: Intersect(block_size=2), fed, after_round=after)
        assert sorted(ids(network)["site-1"]) == ["bob", "dora"]


class TestWorkflow(WorkflowConformance):
    """Real sites draw other secrets each time, so the sites here are functions."""

    def make(self):
        return Intersect(block_size=2)

    def federation(self, **faults):
        digests = {
            site: np.array([[number] * 16 for number in own], np.uint8)
            for site, own in {"site-1": [1, 2, 3], "site-2": [3, 2, 5, 6, 7], "site-3": [2, 3]}.items()
        }

        def site(name, after):
            def do(task):
                match task.name:
                    case "psi.prepare":
                        counts = dict.fromkeys(("rows", "duplicates", "left_out"), 0)
                        size = len(digests[name])
                        terms = '{"sites":["site-1","site-2","site-3"]}'
                        return {"terms": terms, "tag": name, "salt": None, "size": size, "minimum": 0, **counts}
                    case "psi.digests":
                        return {"digests": digests[after]}
                return {}

            return do

        pairs = [("site-1", "site-2"), ("site-2", "site-3"), ("site-3", "site-1")]
        return federation({name: site(name, after) for name, after in pairs}, **faults)
