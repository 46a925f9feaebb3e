"""Node blobs: one byte form, every damage typed, every rule of SPEC 5 enforced."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wz.errors import FormatError, NewerVersion
from edge_wz.formats import blob
from edge_wz.formats.sections.predictive import escape_classes, reciprocal


def nested(**changes):
    fields = {
        "packet_samples": 32, "hello_every": 100, "level_check_bits": 4, "scale": 0.1, "offset": -3.0,
        "rate_points": [(8, 12, 2048, [4096, -1]), (7, 12, 2048, [3000, 5])],
    }
    return blob.make_nested(**{**fields, **changes})


def cdf_for(step_q8, rounding_q8, direct, bits=10):
    symbols = 2 * direct + escape_classes(step_q8, rounding_q8, direct) + 2
    return [*range(symbols), 1 << bits]


def tables(step_q8, rounding_q8, count, direct=3):
    return [(direct, cdf_for(step_q8, rounding_q8, direct))] * count


def predictive(**changes):
    fields = {
        "packet_samples": 32, "hello_every": 100, "scale": 0.1, "offset": 0.0, "order": 2,
        "predictors": [[0], [7, 4096], [0, 8192, -4096]], "thresholds": [1, 4], "position_tables": 2, "contexts": 3,
        "cdf_bits": 10, "rate_points": [(512, 256, tables(512, 256, 5)), (1 << 24, 0, tables(1 << 24, 0, 5, 0))],
    }
    return blob.make_predictive(**{**fields, **changes})


MODELS = [nested(), predictive()]
IDS = ["nested", "predictive"]


def resealed(data):
    """The same bytes with a check that holds, so that the fields are looked at."""
    return blob.with_check(bytes(data[:-4]))


def test_layout_of_a_nested_blob():
    node = nested(rate_points=[(8, 12, 2048, [4096])], scale=1.0, offset=0.0)
    expected = (
        b"WZNB" + bytes([1, 1, 1, 4]) + struct.pack("<HHIdd", 32, 100, 52, 1.0, 0.0)
        + bytes([1, 0, 0, 0]) + struct.pack("<HBBii", 8, 12, 0, 2048, 4096)
    )
    assert node.blob == blob.with_check(expected)
    assert len(node.blob) == 52


def test_layout_of_a_predictive_blob():
    data = predictive().blob
    assert data[32:36] == bytes([2, 2, 3, 10])
    assert struct.unpack_from("<8H", data, 36) == (1, 4, 0, 0, 0, 0, 0, 0)
    assert struct.unpack_from("<6i", data, 52) == (0, 7, 4096, 0, 8192, -4096)
    assert struct.unpack_from("<IIHBB", data, 76) == (512, 256, 16384, 14, 0)
    first_cdf = 76 + 2 * (12 + 5 * 4)
    assert struct.unpack_from("<BBH", data, 88) == (3, 15, first_cdf // 2)
    assert len(data) % 4 == 0


@pytest.mark.parametrize("node", MODELS, ids=IDS)
def test_parse_gives_back_every_field(node):
    again = blob.parse(node.blob)
    assert again.blob == node.blob and again.model_id == node.model_id and len(node.model_id) == 8
    assert blob.pack(again) == node.blob
    assert (again.packet_samples, again.hello_every, again.scale, again.offset) == (32, 100, node.scale, node.offset)
    assert [row.tolist() for row in again.predictors] == [row.tolist() for row in node.predictors]
    assert again.thresholds.tolist() == node.thresholds.tolist()
    for mine, theirs in zip(again.rate_points, node.rate_points, strict=True):
        for name, value in vars(theirs).items():
            if name != "tables":
                assert np.array_equal(getattr(mine, name), value)


def test_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        nested().rate_points[0].taps[0] = 1


@pytest.mark.parametrize("node", MODELS, ids=IDS)
def test_every_truncation_and_extension_is_refused(node):
    for size in range(len(node.blob)):
        with pytest.raises(FormatError):
            blob.parse(node.blob[:size])
    with pytest.raises(FormatError, match="byte 12"):
        blob.parse(node.blob + b"\0")


@pytest.mark.parametrize("node", MODELS, ids=IDS)
def test_every_flipped_bit_is_refused(node):
    for bit in range(8 * len(node.blob)):
        data = bytearray(node.blob)
        data[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(FormatError) as caught:
            blob.parse(bytes(data))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("node", MODELS, ids=IDS)
def test_flipped_bit_under_a_valid_check_is_refused_or_is_another_model(node):
    """What an attacker or a buggy exporter could make: never a crash, never a second form of the same model."""
    intact = 0
    for bit in range(8 * (len(node.blob) - 4)):
        data = bytearray(node.blob)
        data[bit >> 3] ^= 1 << (bit & 7)
        forged = resealed(data)
        try:
            parsed = blob.parse(forged)
        except FormatError:
            continue
        intact += 1
        assert blob.pack(parsed) == forged and parsed.model_id != node.model_id
    assert intact > 0


@pytest.mark.parametrize(("change", "message"), [
    ({"packet_samples": 0}, "packet samples is 0"),
    ({"packet_samples": 4097}, "packet samples is 4097"),
    ({"hello_every": 0}, "hello every"),
    ({"level_check_bits": 5}, "level check bits is 5"),
    ({"scale": 0.0}, "scale is 0.0"),
    ({"scale": float("nan")}, "scale is nan"),
    ({"offset": float("inf")}, "offset is inf"),
    ({"rate_points": []}, "rate points is 0"),
    ({"rate_points": [(8, 0, 0, [1])] * 9}, "rate points is 9"),
    ({"rate_points": [(1, 0, 0, [1])]}, "modulus is 1"),
    ({"rate_points": [(4097, 0, 0, [1])]}, "modulus is 4097"),
    ({"rate_points": [(65536, 0, 0, [1])]}, "modulus is 65536"),
    ({"rate_points": [(8, 31, 0, [1])]}, "shift is 31"),
    ({"rate_points": [(8, 0, 0, [0])]}, "every tap is zero"),
    ({"rate_points": [(8, 0, 0, [65536])]}, "exceed 32 bits"),
    ({"rate_points": [(8, 0, 0, [1] * 17)]}, "taps is 17"),
    ({"rate_points": [(8, 0, 0, [1]), (8, 0, 0, [1, 2])]}, "2 taps"),
    ({"rate_points": [(8, 0, 0, [2**40])]}, "32-bit"),
    ({"rate_points": [(8, 0, 0, [0.5])]}, "integers expected"),
])
def test_rules_of_nested(change, message):
    with pytest.raises(FormatError, match=message):
        nested(**change)


@pytest.mark.parametrize(("change", "message"), [
    ({"order": 7}, "order is 7"),
    ({"predictors": [[0], [0, 1]]}, "predictor rows is 2"),
    ({"predictors": [[0], [0], [0, 1, 2]]}, "predictor row 1: entries"),
    ({"predictors": [[0], [0, 1], [0, 65535, 1]]}, "row 2 can exceed"),
    ({"thresholds": [4, 4]}, "rise strictly"),
    ({"thresholds": [4]}, "thresholds is 1"),
    ({"contexts": 10}, "contexts is 10"),
    ({"position_tables": 0}, "position tables is 0"),
    ({"cdf_bits": 7}, "cdf bits is 7"),
    ({"cdf_bits": 11}, "does not rise strictly from 0 to 2048"),
    ({"rate_points": [(255, 0, tables(255, 0, 5))]}, "step_q8 is 255"),
    ({"rate_points": [(512, 512, tables(512, 512, 5))]}, "rounding_q8 is 512"),
    ({"rate_points": [(512, 256, tables(512, 256, 4))]}, "tables is 4"),
    ({"rate_points": [(512, 256, tables(1024, 256, 5))]}, "classes"),
])
def test_rules_of_predictive(change, message):
    with pytest.raises(FormatError, match=message):
        predictive(**change)


def test_newer_version_is_told_apart():
    data = bytearray(nested().blob)
    data[4] = 2
    with pytest.raises(NewerVersion, match="version 2"):
        blob.parse(resealed(data))


def test_reserved_scheme_is_named():
    data = bytearray(nested().blob)
    data[5] = 6
    with pytest.raises(FormatError, match="transform"):
        blob.parse(resealed(data))


def test_non_canonical_byte_is_located():
    data = bytearray(nested().blob)
    data[33] = 1
    with pytest.raises(FormatError, match="byte 33"):
        blob.parse(resealed(data))


@given(st.integers(256, 1 << 24))
def test_reciprocal_starts_at_most_eight_short(step_q8):
    recip, shift = reciprocal(step_q8)
    assert recip < 1 << 15 and shift <= 30
    assert shift == 30 or (1 << (shift + 10)) // step_q8 >= 1 << 15
    for v in (0, step_q8 - 1, step_q8, (1 << 25) - 1):
        assert 0 <= v // step_q8 - (((v >> 9) * recip) >> shift) <= 8


@given(
    st.integers(1, 4096), st.integers(1, 65535), st.sampled_from([0, 4, 8]), st.integers(1, 16).flatmap(
        lambda taps: st.lists(
            st.tuples(
                st.one_of(st.integers(2, 4096), st.integers(1, 15).map(lambda b: 1 << b)), st.integers(0, 30),
                st.integers(-1000, 1000), st.lists(st.integers(1, 4000), min_size=taps, max_size=taps),
            ), min_size=1, max_size=8,
        )
    ),
)
def test_round_trip_of_any_nested_model(samples, hello_every, check_bits, points):
    node = blob.make_nested(samples, hello_every, check_bits, 0.5, 1.0, points)
    again = blob.parse(node.blob)
    assert blob.pack(again) == node.blob
    read = [(p.modulus, p.shift, p.rounding, p.taps.tolist()) for p in again.rate_points]
    assert read == points


@given(st.data())
def test_round_trip_of_any_predictive_model(data):
    order = data.draw(st.integers(0, 6))
    contexts = data.draw(st.integers(1, 9))
    positions = data.draw(st.integers(1, 8))
    bits = data.draw(st.integers(8, 15))
    thresholds = sorted(data.draw(st.sets(st.integers(0, 65535), min_size=contexts - 1, max_size=contexts - 1)))
    points = []
    for _ in range(data.draw(st.integers(1, 3))):
        step_q8 = data.draw(st.integers(256, 1 << 24))
        rounding_q8 = data.draw(st.integers(0, step_q8 - 1))
        direct = data.draw(st.integers(0, 100))
        table = (direct, cdf_for(step_q8, rounding_q8, direct, bits))
        points.append((step_q8, rounding_q8, [table] * (positions + contexts)))
    rows = [[-5] + [1000] * p for p in range(order + 1)]
    node = blob.make_predictive(16, 1, 1.0, 0.0, order, rows, thresholds, positions, contexts, bits, points)
    assert blob.pack(blob.parse(node.blob)) == node.blob


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_one_line(data):
    for forged in (data, b"WZNB" + data, blob.with_check(b"WZNB\x01" + data)):
        with pytest.raises(FormatError) as caught:
            blob.parse(forged)
        assert "\n" not in str(caught.value)


def test_pack_ignores_the_stored_blob():
    node = nested()
    assert blob.pack(replace(node, blob=b"")) == node.blob
