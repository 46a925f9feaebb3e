"""The recorded cost of the C runtime: it is what the code costs, within 2 %, and the budgets that were met stay met."""

import pytest

from export import footprint
from tests.runtime_machines import CORES, MARKS

MODELS = (
    "nested 2 bit", "nested 2 bit, 5 taps", "predictive", "trellis 2 bit", "syndrome 2 bit", "layered 2 bit", "layered 2 bit, blocks", "everything",
)  # fmt: skip
MISSED = {"predictive: instructions a sample"}  # docs/FOOTPRINT.md says why


@pytest.mark.parametrize("core", [pytest.param(name, marks=MARKS[name]) for name in CORES])
@pytest.mark.parametrize("model", MODELS)
def test_costs_are_those_recorded(core, model):
    found = {core: {model: footprint.measure(footprint.settings()[model], core)}}
    assert footprint.deviations(found, footprint.recorded()) == [], "python -m export.footprint --record, if that is meant"


def test_the_record_is_complete():
    record = footprint.recorded()
    assert set(record) == set(footprint.CORES)
    assert all(set(rows) == set(footprint.settings()) for rows in record.values())


def test_budgets():
    missed = {line.split("  ")[0] for line in footprint.budget_lines(footprint.recorded()) if line.endswith("MISSED")}
    assert missed == MISSED


def test_what_is_off_is_told():
    record = footprint.recorded()
    row = record["m0"]["predictive"]
    worse = {**vars(row), "block": row.block * 1.03, "single": row.single * 1.01, "stack": row.stack + 4, "path_text": row.path_text // 2}
    lines = footprint.deviations({"m0": {"predictive": footprint.Cost(**worse)}}, record)
    assert [line.split()[2] for line in lines] == ["path_text", "stack", "block"]
    assert footprint.deviations({"m0": {"new": row}}, record) == ["m0 new: not in the record"]
