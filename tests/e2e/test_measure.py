"""From a finished search to seconds: its points run in private, noted in frontier.json, shown by the report."""

import json
import re

import pytest
from typer.testing import CliRunner

import deepreduce
from deepreduce import export
from deepreduce.benchmark.frontier import measure_frontier, pick, points
from deepreduce.benchmark.roofline import measure_rates
from deepreduce.benchmark.run import BenchOptions
from deepreduce.cli.main import app
from deepreduce.errors import ModelError, PointError, SettingError, StoreError
from deepreduce.jobs import executors
from deepreduce.plan import digest, predict, read_plan
from deepreduce.search.targets import parse_target
from deepreduce.train import make_recipe
from small_data import stripes_dataset, write_folder

ONCE = BenchOptions(inferences=1)
DATA = stripes_dataset()
RECIPE = make_recipe("quick", epochs=1, batch_size=32, crop_padding=1)


def search(out):
    return deepreduce.find_frontier("resnet6", DATA, width=0.0625, recipe=RECIPE, out=out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return search(tmp_path_factory.mktemp("search") / "out").directory


@pytest.fixture
def folder(finished, tmp_path):
    return deepreduce.Frontier.load(finished).save(tmp_path / "copy")


@pytest.fixture(scope="module")
def rates():
    return measure_rates()


@pytest.fixture(autouse=True)
def known_rates(monkeypatch, rates):
    """The machine's rates are measured once: they are not what is tested here."""
    monkeypatch.setattr(points, "measure_rates", lambda ring_bits: rates)


class Exporting:
    """Counts what is exported; a point named in ``refused`` cannot be."""

    def __init__(self, monkeypatch):
        self.calls, self.refused, self._export = [], set(), export.export_point
        monkeypatch.setattr(export, "export_point", self)
        monkeypatch.setattr(export, "frontier_data", lambda frontier: DATA)

    def __call__(self, frontier, name, **settings):
        self.calls.append(name)
        if name in self.refused:
            raise ModelError(f"{name}: an op that no plan has", "train with another")
        return self._export(frontier, name, **settings)


@pytest.fixture
def exporting(monkeypatch):
    return Exporting(monkeypatch)


def content(folder):
    return json.loads((folder / "frontier.json").read_text())


def run(*arguments):
    return CliRunner().invoke(app, [str(part) for part in arguments], env={"COLUMNS": "200"})


def test_every_point_is_measured_once_and_noted(folder, exporting):
    wanted = {n.job for n in deepreduce.Frontier.load(folder).networks if n.on_frontier or n.role == "teacher"}
    outcome = measure_frontier(folder, ONCE, ["none", "1Gbit, 2ms"])
    assert outcome.failed == ()
    assert {done.network.job for done in outcome.measured} == wanted
    assert len(outcome.measured) == 2 * len(wanted)
    records = {record["job"]: record.get("private", {}) for record in content(folder)["networks"]}
    assert {job for job, private in records.items() if private} == wanted
    for job in wanted:
        assert list(records[job]) == ["ot@none", "ot@1Gbit,2ms"]
        plan = read_plan(folder / "plans" / job / "plan.json")
        cost = predict(plan).total
        for private in records[job].values():
            result = json.loads((folder / "runs" / private["run"]).read_text())
            assert (private["plan"], result["job"]) == (digest(plan), job)
            assert private["online_s"] == result["online"]["seconds"] > 0
            assert private["predicted_offline_s"] == result["offline"]["predicted_seconds"] > 0
            assert private["online_bytes"] == cost.online.up_bytes + cost.online.down_bytes
            assert private["offline_bytes"] == cost.offline.up_bytes + cost.offline.down_bytes
            assert (private["rounds"], private["relus"]) == (cost.online.rounds, cost.relus)
        assert records[job]["ot@1Gbit,2ms"]["online_s"] > 0.002 * cost.online.rounds

    # All of it again: nothing is exported or run a second time.
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*")}
    calls = len(exporting.calls)
    again = measure_frontier(folder, ONCE, ["NONE", "1Gbit,2ms"])
    assert [(m.key, m.summary) for m in again.measured] == [(m.key, m.summary) for m in outcome.measured]
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*")} == before
    assert len(exporting.calls) == calls

    # A search that goes over the same folder keeps what was measured.
    search(folder)
    assert {record["job"]: record.get("private", {}) for record in content(folder)["networks"]} == records


def test_only_what_is_missing_is_done_again(folder, exporting):
    name = deepreduce.Frontier.load(folder)[-1].name

    def measure(**options):
        settings = {"inferences": 1, **options}
        [done] = measure_frontier(folder, BenchOptions(**settings), points=[name]).measured
        return done.summary

    first = measure()
    run_path = folder / "runs" / first.run
    assert measure() == first
    run_path.unlink()
    assert measure() != first and run_path.is_file()
    assert measure(batch=2).relus == 2 * first.relus
    assert measure(inferences=2).inferences == 2
    assert measure(inferences=1).inferences == 2, "more inferences do as well"
    assert len(exporting.calls) == 1
    plan = folder / "plans" / deepreduce.Frontier.load(folder)[-1].job / "plan.json"
    plan.write_bytes(plan.read_bytes()[:-40])
    assert measure().plan == first.plan
    assert len(exporting.calls) == 2, "a damaged export is made anew"


def test_a_point_that_cannot_be_exported_is_left_out(folder, exporting):
    bad = deepreduce.Frontier.load(folder)[-1].name
    exporting.refused.add(bad)
    done = run("bench", folder, "--inferences", "1", "--json")
    assert done.exit_code == 3
    result = json.loads(done.stdout)
    assert [failure["name"] for failure in result["failed"]] == [bad]
    assert "an op that no plan has" in result["failed"][0]["error"]
    assert len(result["points"]) >= 1 and bad not in {point["name"] for point in result["points"]}


def test_tables_and_the_report_show_seconds(folder, exporting):
    done = run("bench", folder, "--inferences", "1", "--link", "none", "--link", "lan")
    assert done.exit_code == 0, done.output
    assert "ot@none, measured" in done.output and "ot@lan, measured" in done.output
    assert "measured before" in run("bench", folder, "--inferences", "1").output
    assert run("report", folder).exit_code == 0
    page = (folder / "report.html").read_text()
    [summary, *_] = [n["private"]["ot@lan"] for n in content(folder)["networks"] if n.get("private")]
    assert "ot@lan" in page and str(summary["online_s"]) in page


def test_settings_that_cannot_be(folder, exporting):
    with pytest.raises(SettingError, match="inferences is 0"):
        measure_frontier(folder, BenchOptions(inferences=0))
    with pytest.raises(SettingError, match="network 'dsl'"):
        measure_frontier(folder, ONCE, ["dsl"])
    with pytest.raises(PointError, match="no network 'S9'"):
        measure_frontier(folder, ONCE, points=["S9"])
    with pytest.raises(StoreError, match="no finished search"):
        measure_frontier(folder / "jobs", ONCE)
    assert exporting.calls == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--width", "0.5"), "is a search"),
        (("--out", "x.json"), "is a search"),
        (("--point", "S9"), "no network 'S9'"),
    ],
)
def test_options_that_are_not_for_searches(folder, exporting, arguments, says):
    done = run("bench", folder, *arguments)
    assert says in str(done.exception)


def test_several_networks_are_for_searches():
    assert "is not a search's folder" in str(run("bench", "resnet6", "--link", "lan", "--link", "wan").exception)


def test_relus_under_a_budget_need_no_export_to_choose(folder, exporting):
    frontier = deepreduce.Frontier.load(folder)
    most = max(n.relus for n in frontier.networks)
    target = parse_target(f"relus<{most}")
    picked = pick(folder, [target], ONCE)
    fitting = [n for n in frontier.networks if n.relus < most]
    assert picked.network.validation_accuracy == max(n.validation_accuracy for n in fitting)
    assert exporting.calls == [picked.network.name], "the one that is measured"
    [noted] = content(folder)["targets"]
    assert noted == json.loads(json.dumps(picked.to_json()))
    assert noted["values"][0]["holds"] and noted["values"][0]["predicted"] == picked.network.relus
    pick(folder, [target], ONCE)
    assert len(content(folder)["targets"]) == 1, "asked again, it stands there once"
    search(folder)
    assert content(folder)["targets"] == [noted]


def test_seconds_under_a_budget_are_predicted_then_measured(folder, exporting):
    targets = [parse_target("online<60s@lan"), parse_target("traffic<=1GB"), parse_target("total<2min")]
    picked = pick(folder, targets, ONCE)
    best = max(n.validation_accuracy for n in deepreduce.Frontier.load(folder).networks)
    assert picked.network.validation_accuracy == best
    assert len(exporting.calls) == 1, "the first that fits"
    online, traffic, total = picked.kept
    assert traffic.predicted == traffic.measured and traffic.error == 0
    assert online.measured > 0 and online.holds and total.measured > 0
    assert {"ot@lan", "ot@none"} <= set(deepreduce.Frontier.load(folder)[picked.network.name].private)


def test_what_cannot_be_exported_is_not_chosen(folder, exporting):
    networks = sorted(deepreduce.Frontier.load(folder).networks, key=lambda n: (-n.validation_accuracy, n.relus))
    exporting.refused |= {networks[0].name}
    picked = pick(folder, [parse_target("online<60s")], ONCE)
    assert picked.network.name != networks[0].name
    assert networks[0].name in [name for name, _ in picked.skipped]


def test_nothing_fits(folder, exporting):
    picked = pick(folder, [parse_target("online<1us")], ONCE)
    assert picked.network is None and picked.kept == ()
    assert picked.nearest.excess(picked.targets) > 1
    assert content(folder)["targets"][0]["nearest"]["network"] == picked.nearest.network.name


@pytest.mark.parametrize(("target", "code"), [("relus<100k", 0), ("relus<2", 5), ("relus<2km", 2)])
def test_search_with_a_target(target, code, tmp_path, monkeypatch):
    monkeypatch.setattr("deepreduce.jobs.ProcessExecutor", lambda jobs, device: executors.InlineExecutor("cpu"))
    write_folder(tmp_path / "images", 80)
    arguments = ("search", "resnet6", "--data", f"folder:{tmp_path / 'images'}", "--width", "0.0625", "--epochs", "1")
    done = run(*arguments, "--recipe", "quick", "--batch-size", "32", "--out", tmp_path / "out", "--target", target)
    if code == 2:
        assert "is not one of the units k, m" in str(done.exception)
        assert not (tmp_path / "out").exists(), "a target is read before anything is trained"
        return
    assert done.exit_code == code, done.output
    said = r"best network for relus<100k: .*validation accuracy" if code == 0 else r"no network meets relus<2"
    assert re.search(said, done.output)
    if code:
        assert "the nearest is" in done.output and "times the bound" in done.output
