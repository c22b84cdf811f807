"""`serve` on a search's folder says which command makes a plan of it."""

import pytest

from deepreduce.cli.plan_folders import read_plan_folder
from deepreduce.errors import PlanError


def test_a_finished_search(tmp_path):
    folder = tmp_path / "my search"
    folder.mkdir()
    for name in ("search.json", "frontier.json"):
        (folder / name).write_text("{}")
    with pytest.raises(PlanError, match="my search is the folder of a search, not of a plan") as caught:
        read_plan_folder(folder)
    assert f"deepreduce export '{folder}' --out '{folder / 'plan'}'" in caught.value.hint
    (folder / "plan").mkdir()
    (folder / "plan" / "plan.json").write_text("{}")
    with pytest.raises(PlanError) as caught:
        read_plan_folder(folder)
    assert caught.value.hint == f"it has a plan in '{folder / 'plan'}'"


def test_a_search_that_is_not_finished(tmp_path):
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(PlanError, match="a search that is not finished") as caught:
        read_plan_folder(tmp_path)
    assert f"deepreduce export {tmp_path}" in caught.value.hint


def test_any_other_folder(tmp_path):
    with pytest.raises(PlanError, match=r"plan\.json"):
        read_plan_folder(tmp_path)
