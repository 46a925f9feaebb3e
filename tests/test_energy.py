"""The energy model: times on air against published ones, and sums that must hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_wz.errors import InputError
from edge_wz.formats.bundle import save
from export import energy
from export.energy import MCUS, RADIOS, Load, estimate, send
from tests.daemon_driver import run_here
from tests.fleet_models import nested_model


@pytest.mark.parametrize(
    ("payload_bytes", "factor", "air_ms"),
    [(13, 9, 164.864), (20, 7, 56.576), (51, 12, 2465.792), (13, 12, 1155.072), (10, 11, 577.536)],
)
def test_lora_airtime_is_that_of_the_calculators(payload_bytes: int, factor: int, air_ms: float) -> None:
    assert 1000 * energy.lora_air_s(payload_bytes, factor) == pytest.approx(air_ms, abs=0.001)


def test_a_byte_more_costs_a_whole_symbol_group_or_nothing_in_lora() -> None:
    times = {energy.lora_air_s(size, 9) for size in range(1, 60)}
    symbol_s = 512 / 125_000
    assert {round((b - a) / symbol_s) for a, b in zip(sorted(times), sorted(times)[1:], strict=False)} == {5}


def test_802154_airtime() -> None:
    assert RADIOS["802.15.4"].burst(116).air_s == pytest.approx(133 * 32e-6), "127 bytes and 6 of synchronisation"
    longer, shorter = RADIOS["802.15.4-ack"].burst(20), RADIOS["802.15.4"].burst(20)
    assert longer.uj - shorter.uj == pytest.approx(3000 * 18.8 * (192e-6 + 352e-6)) and longer.air_s == shorter.air_s


def test_ble_airtime() -> None:
    assert RADIOS["ble-adv"].burst(27).air_s == pytest.approx(3 * 376e-6), "the longest legacy advertisement"
    assert RADIOS["ble"].burst(244).air_s == pytest.approx(2.088e-3), "the longest data packet less its 4 byte MIC"


@pytest.mark.parametrize("name", RADIOS)
def test_a_long_packet_goes_in_pieces(name: str) -> None:
    radio = RADIOS[name]
    largest = send(radio, radio.max_bytes)
    assert largest == radio.burst(radio.max_bytes)
    assert send(radio, 2 * radio.max_bytes).uj == pytest.approx(2 * largest.uj)
    odd = send(radio, radio.max_bytes + 1)
    assert odd.uj > radio.burst(radio.max_bytes // 2).uj + radio.burst(radio.max_bytes // 2).uj - 1e-9


def test_currents_add_up() -> None:
    mcu, radio = MCUS["nrf51822"], RADIOS["802.15.4"]
    load = Load(seconds=3600.0, samples=3600, instructions=3600 * 120.0, packets={20: 100, 39: 5})
    found = estimate(load, mcu, radio, battery_mah=2400)
    radio_uj = 100 * radio.burst(20).uj + 5 * radio.burst(39).uj
    assert found.radio_active_ua == pytest.approx(radio_uj / 3 / 3600)
    instruction_nj = 0.275 * 3 * 1.53
    assert mcu.nj_per_instruction == pytest.approx(instruction_nj)
    assert found.mcu_active_ua == pytest.approx(3600 * (120 * instruction_nj + mcu.nj_per_wake) / 1000 / 3 / 3600)
    assert found.average_ua == pytest.approx(found.mcu_active_ua + 2.6 + found.radio_active_ua + 0.02)
    assert found.nj_per_sample * 3600 / 1000 == pytest.approx(
        3 * 3600 * (found.mcu_active_ua + found.radio_active_ua)
    )


def test_battery_life_counts_self_discharge() -> None:
    assert energy.battery_years(0.0, 2400) == pytest.approx(100)
    assert energy.battery_years(1000 * 2400 / 8766, 2400) == pytest.approx(1 / 1.01)


@pytest.mark.parametrize(("look_up", "name"), [(energy.mcu_named, "z80"), (energy.radio_named, "lora")])
def test_unknown_names_say_what_there_is(look_up: object, name: str) -> None:
    with pytest.raises(InputError, match="there are"):
        look_up(name)  # type: ignore[operator]


def test_simulate_estimates(tmp_path: Path) -> None:
    save(tmp_path / "m.ewz", nested_model())
    arguments = ("simulate", "--nodes", "2", "--model", str(tmp_path / "m.ewz"), "--samples", "640", "--to", str(tmp_path / "out"))
    done = run_here(*arguments, "--radio", "lora-sf9", "--battery-mah", "1200", "--json")
    assert done.returncode == 0, done.stderr
    (row, _) = json.loads(done.stdout)["nodes"]
    found = row["energy"]
    assert found["estimate"] and found["radio"] == "lora-sf9" and found["battery_mah"] == 1200
    packets = row["data_packets"] + row["hello_packets"]
    assert found["air_share"] * 640 > packets * energy.lora_air_s(1, 9)
    assert found["battery_years"] == pytest.approx(energy.battery_years(found["average_ua"], 1200))
    shown = run_here(*arguments, "--radio", "802.15.4")
    assert "years (est.)" in shown.stdout and "are estimates: 802.15.4, stm32l031, 2400 mAh" in shown.stdout
    wrong = run_here(*arguments, "--radio", "wifi")
    assert wrong.returncode == 2 and "no radio 'wifi' (there are 802.15.4" in wrong.stderr


def test_the_document_has_the_figures_of_the_code() -> None:
    text = (Path(__file__).parent.parent / "docs" / "ENERGY.md").read_text()
    for name, radio in RADIOS.items():
        small, large = send(radio, 20), send(radio, 100)
        figures = f"{1000 * small.air_s:.3f} | {small.uj:.1f} | {1000 * large.air_s:.3f} | {large.uj:.1f}"
        assert f"| `{name}` | {radio.max_bytes} | {figures} |" in text
    for name, mcu in MCUS.items():
        assert f"| `{name}` | {mcu.core} | {mcu.nj_per_instruction:.3f} | {mcu.nj_per_wake:.0f} | {mcu.sleep_ua:g} |" in text
