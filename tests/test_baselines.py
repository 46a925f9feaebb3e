"""The rivals: their counted bits are those of codes that decode, and they meet the asked rmse."""

import numpy as np
import pytest

from training import baseline_kernels as kernels
from training import baselines
from training.baselines import Rival, Signal

N = 16


def ar_signal(samples=8000, scale=60.0, seed=1, absent=0.0, packet_samples=N):
    rng = np.random.default_rng(seed)
    x = np.zeros(samples)
    for n in range(1, samples):
        x[n] = 0.95 * x[n - 1] + rng.normal()
    truth = x * scale + 300
    present = rng.random(samples) >= absent
    return Signal(np.rint(truth).astype(np.int16), present, truth, packet_samples)


class Bits:
    """A bit string written and read the slow way."""

    def __init__(self):
        self.bits, self.at = "", 0

    def put(self, value, count):
        self.bits += format(value, f"0{count}b") if count else ""

    def get(self, count):
        self.at += count
        return int(self.bits[self.at - count : self.at] or "0", 2)

    def put_rice(self, value, k):
        quotient = value >> k
        if quotient < kernels.ESCAPE_ONES:
            self.bits += "1" * quotient + "0"
            self.put(value & ((1 << k) - 1), k)
        else:
            self.bits += "1" * kernels.ESCAPE_ONES
            self.put(value, kernels.ESCAPE_BITS)

    def get_rice(self, k):
        quotient = 0
        while quotient < kernels.ESCAPE_ONES and self.get(1):
            quotient += 1
        if quotient == kernels.ESCAPE_ONES:
            return self.get(kernels.ESCAPE_BITS)
        return quotient << k | self.get(k)


def unzigzag(value):
    return value // 2 if value % 2 == 0 else -(value + 1) // 2


def best(values):
    return min(range(16), key=lambda k: sum(kernels.rice_bits(v, k) for v in values))


def write_rice_packet(levels, first):
    values = [kernels.zigzag(int(v)) for v in levels]
    k, out = best(values[1:]), Bits()
    out.put(k, 4)
    out.put_rice(values[0], first)
    for value in values[1:]:
        out.put_rice(value, k)
    return out


def read_rice_packet(bits, count, first):
    k = bits.get(4)
    return [unzigzag(bits.get_rice(first if n == 0 else k)) for n in range(count)]


def test_rice_counts_are_those_of_a_code_that_decodes():
    source = ar_signal(2000, absent=0.1)
    levels = np.zeros(2000, np.int64)
    rows = baselines._fit_rows(source, source.codes.astype(float))
    kernels.dpcm(source.codes, source.present, N, rows, 3.0, levels, np.zeros(2000))
    counted = np.zeros(source.packets, np.int64)
    kernels.rice_packets(levels, source.present, N, 5, counted)
    for b in range(source.packets):
        cut = slice(b * N, (b + 1) * N)
        sent = levels[cut][source.present[cut]]
        if not sent.size:
            assert counted[b] == 0
            continue
        written = write_rice_packet(sent, 5)
        assert len(written.bits) == counted[b]
        assert read_rice_packet(written, sent.size, 5) == sent.tolist()


def write_deadband_packet(levels, first):
    out, rest = Bits(), [int(v) for v in levels[1:]]
    updates = [2 * (abs(v) - 1) + (v < 0) for v in rest if v]
    runs, run = [], 0
    for value in rest:
        if value:
            runs.append(run)
            run = 0
        else:
            run += 1
    runs += [run] if run else []
    run_bits = min(sum(kernels.rice_bits(r, k) for r in runs) for k in range(16)) if runs else 0
    form = 0 if not updates else 1 if len(rest) <= 4 + run_bits else 2
    out.put(form, 2)
    out.put_rice(kernels.zigzag(int(levels[0])), first)
    if form == 1:
        for value in rest:
            out.put(int(value != 0), 1)
    if form == 2:
        k = best(runs)
        out.put(k, 4)
        for r in runs:
            out.put_rice(r, k)
    if form:
        k = best(updates)
        out.put(k, 4)
        for value in updates:
            out.put_rice(value, k)
    return out


def read_deadband_packet(bits, count, first):
    form, levels = bits.get(2), [unzigzag(bits.get_rice(first))]
    where = []
    if form == 1:
        where = [n for n in range(1, count) if bits.get(1)]
    if form == 2:
        k, at = bits.get(4), 1
        while at < count:
            at += bits.get_rice(k)
            if at < count:
                where.append(at)
            at += 1
    k = bits.get(4) if form else 0
    levels += [0] * (count - 1)
    for n in where:
        value = bits.get_rice(k)
        levels[n] = -(value // 2 + 1) if value % 2 else value // 2 + 1
    return levels


@pytest.mark.parametrize("threshold", [2.0, 40.0, 200.0, 1e5])
def test_deadband_counts_are_those_of_a_code_that_decodes(threshold):
    source = ar_signal(2000, absent=0.1)
    levels = np.zeros(2000, np.int64)
    kernels.deadband(source.codes, source.present, N, 300.0, threshold, threshold, levels, np.zeros(2000))
    counted = np.zeros(source.packets, np.int64)
    kernels.deadband_packets(levels, source.present, N, 4, counted)
    for b in range(source.packets):
        cut = slice(b * N, (b + 1) * N)
        sent = levels[cut][source.present[cut]]
        if not sent.size:
            assert counted[b] == 0
            continue
        written = write_deadband_packet(sent, 4)
        assert len(written.bits) == counted[b]
        assert read_deadband_packet(written, sent.size, 4) == sent.tolist()


@pytest.mark.parametrize("name", ["hold", "dpcm_rice"])
@pytest.mark.parametrize("target", [2.0, 15.0, 70.0])
def test_the_asked_rmse_is_met(name, target):
    point = getattr(baselines, name)(ar_signal(seed=1), ar_signal(seed=2, absent=0.05), target)
    assert point.rmse == pytest.approx(target, rel=baselines.TOLERANCE)
    assert np.all(point.bits % 8 < 8) and point.bits.shape == (500,)


def test_more_fidelity_costs_more_bits():
    fit, test = ar_signal(seed=1), ar_signal(seed=2)
    for coder in (baselines.hold, baselines.dpcm_rice):
        rates = [coder(fit, test, target).bits.mean() for target in (2.0, 8.0, 32.0)]
        assert rates == sorted(rates, reverse=True)


def test_dpcm_beats_nothing_known_by_its_theory():
    """AR(1) at high rate: h(innovation) - log2(step), plus what a Rice code and the packet start cost."""
    fit, test = ar_signal(40000, seed=1, packet_samples=64), ar_signal(40000, seed=2, packet_samples=64)
    point = baselines.dpcm_rice(fit, test, 5.0)
    ideal = 0.5 * np.log2(2 * np.pi * np.e * 60**2) - np.log2(point.step)
    assert ideal < point.bits.sum() / test.samples < ideal + 0.35


def test_lossless_is_the_floor():
    source = ar_signal()
    exact = Signal(source.codes, source.present, source.codes.astype(float), N)
    for coder in (baselines.hold, baselines.dpcm_rice):
        point = coder(exact, exact, 0.0)
        assert point.rmse == 0.0 and point.step == 1.0


def test_a_signal_that_stands_still_costs_the_hold_coder_one_value_a_packet():
    codes = np.full(1600, 500, np.int16)
    still = Signal(codes, np.ones(1600, bool), codes.astype(float), N)
    assert baselines.hold(still, still, 1.0).bits.max() == 8


def test_modulo_joins_its_rates_in_log_rmse():
    points = [Rival(np.full(4, 32 * k), 100.0 / 2**k, 1.0) for k in (1, 2, 3)]
    assert baselines.modulo(points, 25.0).bits[0] == 64
    assert baselines.modulo(points, 25.0 * 2**0.5).bits[0] == pytest.approx(48)
    assert baselines.modulo(points, 1.0).bits[0] == 96
    assert baselines.modulo(points, 500.0).bits[0] == 32
