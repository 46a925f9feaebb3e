"""The exact design of interval tables: published figures, monotone descent, slivers, tables and priors."""

import numpy as np
import pytest

from edge_wz.errors import DesignError
from edge_wz.model import LayeredRatePoint, frozen
from training import layered_lloyd as lloyd

LSB = 4096.0  # codes per standard deviation of the side information


def joint_of(variance: float = 0.1) -> lloyd.Joint:
    return lloyd.gaussian_joint(LSB, LSB * np.sqrt(variance))


def in_db(design: lloyd.Design) -> np.ndarray:
    return 10 * np.log10(np.array(design.distortions) / LSB**2)


@pytest.mark.parametrize(
    ("alphabets", "mode", "rates", "distortions"),
    [
        ((2, 2, 2), "marginal", (1, 2, 3.0), (-12.06, -16.13, -20.93)),
        ((4, 4), "marginal", (1.999, 3.263), (-16.12, -21.80)),
        ((4, 4), "conditional", (1.422, 2.309), (-16.12, -22.19)),
    ],
)
def test_best_of_the_usual_starts_has_the_published_figures(alphabets, mode, rates, distortions):
    joint = joint_of()
    found = lloyd.design(joint, lloyd.task(joint, alphabets, mode))
    assert np.allclose(found.rates, rates, atol=0.03)
    assert np.allclose(in_db(found), distortions, atol=0.1)


def test_conditional_rates_from_the_published_start():
    joint = joint_of()
    found = lloyd.design(joint, lloyd.task(joint, (2, 2, 2), "conditional"), periods=(7.0,))
    assert np.allclose(found.rates, (0.688, 1.358, 2.221), atol=0.03)
    assert np.allclose(in_db(found), (-12.06, -16.11, -20.97), atol=0.1)


def test_nested_modulo_untrained():
    joint = joint_of()
    task = lloyd.task(joint, (2, 2, 2))
    plain = lloyd.described(joint, task, lloyd.nested_messages(joint, task, 7.0))
    assert np.allclose(in_db(plain), (-12.05, -16.13, -20.81), atol=0.05)


@pytest.mark.parametrize("mode", lloyd.MODES)
def test_polish_never_makes_it_worse(mode):
    joint = joint_of()
    task = lloyd.task(joint, (2, 2), mode)
    for period in (4.0, 7.0, 12.0):
        start = lloyd.nested_messages(joint, task, period)
        assert lloyd.polish(joint, task, start).lagrangian <= lloyd.described(joint, task, start).lagrangian * 1.001


def test_a_polished_table_stays_as_it_is():
    joint = joint_of()
    task = lloyd.task(joint, (2, 2, 2))
    once = lloyd.polish(joint, task, lloyd.nested_messages(joint, task, 7.0))
    again = lloyd.design(joint, task, periods=(), start=once.point)
    assert again.start == "given table"
    assert again.lagrangian == pytest.approx(once.lagrangian, rel=1e-3)


def test_no_sliver_survives():
    joint = joint_of()
    task = lloyd.task(joint, (2, 2))
    messages = lloyd.nested_messages(joint, task, 7.0)
    messages[100] = (messages[100] + 2) % 4
    widths = np.diff(lloyd.table_of(joint, task, lloyd.drop_slivers(joint, task, messages)).thresholds)
    assert np.diff(lloyd.table_of(joint, task, messages).thresholds).min() < 0.1 * joint.sigma <= widths.min()


def test_table_and_grid_are_one_mapping():
    joint = joint_of()
    task = lloyd.task(joint, (4, 2))
    messages = lloyd.nested_messages(joint, task, 7.0)
    point = lloyd.table_of(joint, task, messages)
    assert np.array_equal(lloyd.messages_of(point, joint), messages)
    assert np.all(np.diff(point.thresholds) > 0)
    assert len(point.messages) == len(point.thresholds) + 1
    assert np.any(point.messages[1:] != point.messages[:-1], axis=1).all()


def test_uniform_layers_go_raw_and_others_are_coded():
    uniform = lloyd.priors(np.ones(8), (2, 2, 2))
    skewed = lloyd.priors(np.array([9.0, 1, 1, 9]), (2, 2))
    assert [len(rows) for rows in uniform] == [0, 0, 0]
    assert [len(rows) for rows in skewed] == [0, 2]
    assert skewed[1][0, -1] == 1 << lloyd.CDF_BITS
    assert len(lloyd.priors(np.ones(3), (3,))[0]) == 1  # no whole number of bits


def test_integer_priors_spare_every_symbol_and_sum_up():
    for mass in (np.zeros(5), np.array([1e9, 1.0, 0, 0, 1e-30]), np.random.default_rng(1).random(64)):
        cdf = lloyd.integer_cdf(mass, 12)
        assert cdf[0] == 0
        assert cdf[-1] == 4096
        assert np.diff(cdf).min() >= 1


def test_wide_sources_keep_within_int16_thresholds():
    joint = lloyd.gaussian_joint(20000.0, 500.0)
    found = lloyd.design(joint, lloyd.task(joint, (2, 2)), periods=(7.0,))
    assert found.point.thresholds[0] > -32768
    assert found.point.thresholds[-1] <= 32767


def test_given_table_outside_the_grid_saturates():
    joint = joint_of()
    point = LayeredRatePoint(frozen([-30000], np.int32), frozen([[0], [1]], np.uint8), (2,), (frozen(np.zeros((0, 3)), np.int32),))
    assert set(lloyd.messages_of(point, joint)) == {1}


@pytest.mark.parametrize(
    ("alphabets", "mode", "weights"),
    [
        ((2,), "joint", (1.0,)),
        ((1,), "marginal", (1.0,)),
        ((64, 64), "marginal", (1.0, 1.0)),
        ((2, 2), "marginal", (1.0,)),
        ((2,), "marginal", (0.0,)),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(alphabets, mode, weights):
    with pytest.raises(DesignError):
        lloyd.Task(alphabets, mode, weights)


def test_a_source_of_two_codes_is_refused():
    with pytest.raises(DesignError, match="finer scale"):
        lloyd.gaussian_joint(0.1, 0.05)
