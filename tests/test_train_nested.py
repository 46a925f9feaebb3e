"""Learning `nested` by gradients: recipes, restarts, resuming, gaps, dropout."""

from dataclasses import replace

import numpy as np
import pytest

from edge_wz.errors import DesignError, InputError
from firmware_sim.field import pair_source

pytestmark = pytest.mark.train

from training import nested_fit, nested_hard  # noqa: E402
from training.nested import DEFAULT, PAPER, Lesson, Restart, sequence_length  # noqa: E402
from training.nested_hard import Rows  # noqa: E402

SHORT = replace(DEFAULT, steps=100, evaluate_every=25, batch_samples=2000)
LESSON = Lesson((4,), recipe=SHORT)


def pair(samples, seed=1, name="fig5"):
    columns = pair_source(name).generate(samples, seed)
    return Rows.of(columns["x"], columns["y"][None])


@pytest.fixture(scope="module")
def rows():
    return pair(20_000)


def test_default_recipe_reaches_the_scheme_s_own_optimum(rows):
    result = nested_fit.fit(rows, LESSON, restarts=1)
    fresh = nested_hard.sqnr_db(result.filters, pair(200_000, 2))[0]
    assert fresh > 22.08 - 0.3
    assert result.filters.a[0] == 1.0 and np.abs(result.filters.a[1:]).max() < 0.2


def test_paper_recipe_learns_too(rows):
    recipe = replace(PAPER, steps=150, evaluate_every=50, batch_samples=2000)
    found = [nested_fit.fit(rows, Lesson((4,), recipe=recipe), restarts=1, seed=seed).sqnr_db[0] for seed in (0, 1)]
    assert max(found) > 17


def test_rate_points_are_learned_together(rows):
    result = nested_fit.fit(rows, replace(LESSON, moduli=(4, 8, 16)), restarts=1)
    assert len(result.filters.spans) == 3 and np.all(np.diff(result.sqnr_db) > 4)
    assert result.sqnr_db[0] > 21.5


def test_an_interrupted_run_continues_to_exactly_the_same_filters(rows, tmp_path):
    whole = nested_fit.fit(rows, LESSON, restarts=2, folder=tmp_path / "whole")
    seen = []

    def pull_the_plug(restart, step, score):
        seen.append((restart, step))
        if (restart, step) == (1, 75):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nested_fit.fit(rows, LESSON, restarts=2, folder=tmp_path / "cut", report=pull_the_plug)
    later = []
    resumed = nested_fit.fit(
        rows, LESSON, restarts=2, folder=tmp_path / "cut", report=lambda restart, step, _: later.append((restart, step))
    )
    assert later and min(later) == (1, 75)  # what was evaluated but not yet written is done again, nothing else
    assert resumed.scores == whole.scores and resumed.filters.spans == whole.filters.spans
    for name in ("a", "b", "c"):
        assert np.array_equal(getattr(resumed.filters, name), getattr(whole.filters, name))


def test_states_of_another_run_are_refused(rows, tmp_path):
    folder = tmp_path / "m.ewz.training"
    nested_fit.fit(rows, replace(LESSON, recipe=replace(SHORT, steps=25)), restarts=1, folder=folder)
    with pytest.raises(InputError, match="--fresh"):
        nested_fit.fit(rows, LESSON, restarts=1, folder=folder)
    (state,) = folder.glob("*.pt")
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged state"):
        nested_fit.fit(rows, replace(LESSON, recipe=replace(SHORT, steps=25)), restarts=1, folder=folder)
    nested_fit.fit(rows, replace(LESSON, recipe=replace(SHORT, steps=25)), restarts=1, folder=folder, fresh=True)


def test_processes_change_nothing(rows):
    lesson = replace(LESSON, recipe=replace(SHORT, steps=25))
    said = []
    one = nested_fit.fit(rows, lesson, restarts=2, jobs=1)
    two = nested_fit.fit(rows, lesson, restarts=2, jobs=2, report=lambda *event: said.append(event))
    assert one.scores == two.scores and np.array_equal(one.filters.b, two.filters.b)
    assert {event[0] for event in said} == {0, 1}


def test_divergence_of_every_seed_is_one_line_that_names_them(rows, monkeypatch):
    real = Restart._loss
    monkeypatch.setattr(Restart, "_loss", lambda self, progress: real(self, progress) * np.nan)
    with pytest.raises(DesignError, match="restart 0 with seed 0 diverged .* restart 0 with seed 101 diverged"):
        nested_fit.fit(rows, LESSON, restarts=1)


def test_a_diverged_restart_is_repeated_with_another_seed(rows, monkeypatch):
    real = Restart._loss
    monkeypatch.setattr(Restart, "_loss", lambda self, progress: real(self, progress) * (np.nan if self.seed == 1009 else 1))
    result = nested_fit.fit(rows, replace(LESSON, recipe=replace(SHORT, steps=25)), restarts=1, seed=1)
    assert result.seed == 1009 + nested_fit.NEXT_ATTEMPT
    assert "restart 0 with seed 1009 diverged" in result.notes[0]


def test_gaps_shorten_the_sequences_and_cost_little(rows):
    x, y = rows.x.copy(), rows.y.copy()
    x[::400], y[0, 150::400] = np.nan, np.nan
    gappy = Rows.of(x, y)
    assert sequence_length(gappy, 10) < 400 <= sequence_length(rows, 10)
    result = nested_fit.fit(gappy, LESSON, restarts=1)
    assert nested_hard.sqnr_db(result.filters, pair(100_000, 2))[0] > 22.08 - 0.4


def test_a_recording_full_of_gaps_is_refused(rows):
    x = rows.x.copy()
    x[::40] = np.nan
    with pytest.raises(DesignError, match="runs of .* rows"):
        nested_fit.fit(Rows.of(x, rows.y), LESSON, restarts=1)


def test_a_dropped_neighbour_is_bridged_by_the_others():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20_000)
    y = np.stack([x + 0.1 * rng.standard_normal(x.size), x + 0.1 * rng.standard_normal(x.size)])
    rows = Rows.of(x, y)
    lesson = Lesson((4,), taps=1, side_taps=1, recipe=replace(SHORT, steps=25), dropout=0.5)
    restart = Restart(rows, rows, lesson, 0)
    both = restart._bridge((True, True)).numpy()
    first = restart._bridge((True, False)).numpy()
    assert both == pytest.approx(np.eye(2), abs=1e-4)
    correlation = np.corrcoef(y)[0, 1]
    assert first == pytest.approx(np.array([[1, 0], [correlation, 0]]), abs=1e-3)
    restart.run()
    assert restart.best is not None and restart.best.sqnr_db[0] > 10


def test_early_stopping(rows):
    patient = replace(SHORT, steps=2000, evaluate_every=5, patience=1, learning_rate=1e-6)
    restart = Restart(rows, rows, Lesson((4,), recipe=patient), 0)
    restart.run()
    assert restart.step < 200
