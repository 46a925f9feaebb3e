"""From counted instructions and bytes on air to current and battery life: an estimate, and marked as one wherever shown.

Unlike `footprint`, which counts, this multiplies counts with figures of data sheets. Counted here: the processor while it
encodes and while it wakes for a sample, its sleep with the clock running, the radio from its start to its sleep.
Not counted, and so to be added by who knows the board: the sensor and its amplifier, regulators, ageing at low temperature,
retransmissions, whatever else the firmware does.

Processors (typical values, 25 C). One instruction is charged `cycles_per_instruction` cycles of run current: 1.53 on a Cortex-M0
(183 cycles for 120 instructions of this encoder, from the cycle table of the Cortex-M0 TRM DDI 0432C, section 3.3), 1.3 assumed
on M3 and M4, flash without wait states. A Cortex-M4 runs the code of an M3, whose instructions are counted for it.

    nrf51822   nRF51822 Product Specification v3.1: 4.4 mA at 16 MHz from flash, 2.6 uA System On idle (table 32), RC start 4.2 us
    stm32l031  STM32L031x4/6 data sheet DS10668 rev 6, page 1: 76 uA/MHz, 0.6 uA Stop with RTC and RAM, 5 us from Stop to flash
    stm32l152  STM32L151/152x6/8/B data sheet, page 1: 214 uA/MHz, 1.2 uA Stop with RTC, 8 us wake-up
    nrf52832   nRF52832 Product Specification v1.4: 3.7 mA at 64 MHz from flash with DC/DC, 1.9 uA idle with RTC, 3 us to wake

Radios. Time on air by the standard's packet layout, current by the data sheet's transmit row; a packet that does not fit the largest
payload goes in several, evenly cut, each with the whole overhead.

    802.15.4   IEEE 802.15.4-2006, 2.4 GHz O-QPSK: 32 us a byte; preamble 4, delimiter 1, length 1; MAC header with short addresses in one
               network 9, check 2 (sections 6.3, 7.2.1). CC2420 data sheet SWRS041C: TX 17.4 mA at 0 dBm, RX 18.8 mA,
               start of the oscillator 0.86 ms at 426 uA, 192 us to lock; 20 nA with its regulator off.
    802.15.4-ack   the same, then 192 us of turnaround and an acknowledgement of 11 bytes in receive.
    ble-adv    Bluetooth Core 4.2, Vol 6 B 2.1, 2.3.1.3: ADV_NONCONN_IND on three channels at 1 Mbit/s: preamble 1, address 4, header 2, AdvA 6,
               check 3; of 31 bytes of data 4 name the manufacturer. nRF52832 PS v1.1, power and clock management: TX 7.1 mA
               at 0 dBm, RX 6.5 mA, both with the crystal running; 140 us to ramp up.
    ble        a notification in a connection: receive the poll of 80 us, wait 150 us, send preamble 1, address 4, header 2, L2CAP 4, ATT 3,
               data up to 244, check 3. Events without data, which keep the connection, are not counted.
    lora-sf7 .. lora-sf12   SX1276/77/78/79 data sheet rev 5, section 4.1.1.7 (time on air) and power consumption: 125 kHz, coding 4/5, preamble of 8,
               explicit header, CRC; low data rate optimisation where a symbol exceeds 16 ms (SF11, SF12). TX 29 mA at +13 dBm, RX not used,
               0.2 uA asleep, 1.6 mA in standby for the 250 us in which the crystal starts. Raw LoRa: no LoRaWAN header, no receive windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from edge_wz.errors import InputError

HOURS_A_YEAR = 8766.0
SELF_DISCHARGE = 0.01  # of the capacity a year: lithium cells; alkaline ones lose 2 to 3 times as much
SHELF_YEARS = 20  # no cell is sold with a promise beyond: what comes out longer says only that the battery is not used up
DUTY_LIMIT = 0.01  # of the time on air, 868.0 to 868.6 MHz in Europe (ERC Recommendation 70-03)


@dataclass(frozen=True)
class Mcu:
    """`core` names the instruction set that instructions were counted on."""

    name: str
    core: str
    ua_per_mhz: float
    clock_mhz: float
    sleep_ua: float
    wake_us: float
    cycles_per_instruction: float
    volts: float = 3.0

    @property
    def nj_per_instruction(self) -> float:
        return self.ua_per_mhz * self.volts * self.cycles_per_instruction / 1000

    @property
    def nj_per_wake(self) -> float:
        return self.wake_us * self.ua_per_mhz * self.clock_mhz * self.volts / 1000


MCUS = {
    mcu.name: mcu
    for mcu in (
        Mcu("nrf51822", "m0", 4400 / 16, 16, 2.6, 4.2, 1.53),
        Mcu("stm32l031", "m0", 76, 4.2, 0.6, 5.0, 1.53),
        Mcu("stm32l152", "m3", 214, 16, 1.2, 8.0, 1.3),
        Mcu("nrf52832", "m3", 3700 / 64, 64, 1.9, 3.0, 1.3),
    )
}


@dataclass(frozen=True)
class Burst:
    """One packet of the radio: `air_s` of transmission, `uj` from its start to its sleep."""

    air_s: float
    uj: float


class Radio(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def max_bytes(self) -> int: ...

    @property
    def sleep_ua(self) -> float: ...

    @property
    def volts(self) -> float: ...

    def burst(self, payload_bytes: int) -> Burst: ...


@dataclass(frozen=True)
class Ieee802154:
    name: str = "802.15.4"
    acknowledged: bool = False
    max_bytes: int = 127 - 11
    sleep_ua: float = 0.02
    volts: float = 3.0

    def burst(self, payload_bytes: int) -> Burst:
        air_s = 32e-6 * (6 + 9 + payload_bytes + 2)
        ma_s = 0.86e-3 * 0.426 + 192e-6 * 18.8 + air_s * 17.4
        if self.acknowledged:
            ma_s += (192e-6 + 11 * 32e-6) * 18.8
        return Burst(air_s, 1000 * self.volts * ma_s)


@dataclass(frozen=True)
class BleAdvertising:
    name: str = "ble-adv"
    max_bytes: int = 27
    sleep_ua: float = 0.0  # in the processor's
    volts: float = 3.0

    def burst(self, payload_bytes: int) -> Burst:
        air_s = 3 * 8e-6 * (1 + 4 + 2 + 6 + 4 + payload_bytes + 3)
        return Burst(air_s, 1000 * self.volts * (air_s + 3 * 140e-6) * 7.1)


@dataclass(frozen=True)
class BleConnection:
    name: str = "ble"
    max_bytes: int = 244
    sleep_ua: float = 0.0
    volts: float = 3.0

    def burst(self, payload_bytes: int) -> Burst:
        air_s = 8e-6 * (1 + 4 + 2 + 4 + 3 + payload_bytes + 3)
        listening_s = 140e-6 + 80e-6 + 150e-6
        return Burst(air_s, 1000 * self.volts * (listening_s * 6.5 + air_s * 7.1))


@dataclass(frozen=True)
class Lora:
    name: str
    spreading_factor: int
    max_bytes: int = 255
    sleep_ua: float = 0.2
    volts: float = 3.3

    def burst(self, payload_bytes: int) -> Burst:
        air_s = lora_air_s(payload_bytes, self.spreading_factor)
        return Burst(air_s, 1000 * self.volts * (air_s * 29 + 250e-6 * 1.6))


def lora_air_s(payload_bytes: int, spreading_factor: int, bandwidth_hz: int = 125_000, preamble: int = 8) -> float:
    """Time on air of SX1276 4.1.1.7 with an explicit header, CRC and coding rate 4/5."""
    symbol_s = (1 << spreading_factor) / bandwidth_hz
    optimised = 2 if symbol_s > 0.016 else 0
    bits = 8 * payload_bytes - 4 * spreading_factor + 28 + 16
    symbols = 8 + max(math.ceil(bits / (4 * (spreading_factor - optimised))) * 5, 0)
    return (preamble + 4.25 + symbols) * symbol_s


_RADIOS: tuple[Radio, ...] = (
    Ieee802154(), Ieee802154("802.15.4-ack", acknowledged=True), BleAdvertising(), BleConnection(),
    *(Lora(f"lora-sf{factor}", factor) for factor in range(7, 13)),
)  # fmt: skip
RADIOS = {radio.name: radio for radio in _RADIOS}


@dataclass(frozen=True)
class Load:
    """What a node did in `seconds`. `packets`: how many of each size in bytes, hellos among them, as handed to the radio."""

    seconds: float
    samples: int
    instructions: float
    packets: Mapping[int, int]


@dataclass(frozen=True)
class Estimate:
    """Average currents in uA, and what they make of a battery. Estimates all of them."""

    mcu_active_ua: float
    mcu_sleep_ua: float
    radio_active_ua: float
    radio_sleep_ua: float
    nj_per_sample: float  # encoding, waking and sending, without sleep
    radio_share: float  # of `nj_per_sample`
    air_share: float  # of the time
    battery_years: float

    @property
    def average_ua(self) -> float:
        return self.mcu_active_ua + self.mcu_sleep_ua + self.radio_active_ua + self.radio_sleep_ua

    def as_row(self) -> dict[str, Any]:
        return {**asdict(self), "average_ua": self.average_ua, "estimate": True}


def send(radio: Radio, packet_bytes: int) -> Burst:
    """One packet of ours, in as many packets of the radio as it takes."""
    pieces = max(1, math.ceil(packet_bytes / radio.max_bytes))
    bursts = [radio.burst(packet_bytes // pieces + (k < packet_bytes % pieces)) for k in range(pieces)]
    return Burst(sum(burst.air_s for burst in bursts), sum(burst.uj for burst in bursts))


def estimate(load: Load, mcu: Mcu, radio: Radio, battery_mah: float) -> Estimate:
    """Average currents of a node and the life of its battery."""
    mcu_uj = (load.instructions * mcu.nj_per_instruction + load.samples * mcu.nj_per_wake) / 1000
    bursts = [(count, send(radio, size)) for size, count in load.packets.items()]
    radio_uj = sum(count * burst.uj for count, burst in bursts)
    mcu_ua, radio_ua = mcu_uj / mcu.volts / load.seconds, radio_uj / radio.volts / load.seconds
    spent_uj = mcu_uj + radio_uj
    return Estimate(
        mcu_active_ua=mcu_ua,
        mcu_sleep_ua=mcu.sleep_ua,
        radio_active_ua=radio_ua,
        radio_sleep_ua=radio.sleep_ua,
        nj_per_sample=1000 * spent_uj / max(load.samples, 1),
        radio_share=radio_uj / spent_uj if spent_uj else 0.0,
        air_share=sum(count * burst.air_s for count, burst in bursts) / load.seconds,
        battery_years=battery_years(mcu_ua + mcu.sleep_ua + radio_ua + radio.sleep_ua, battery_mah),
    )


def battery_years(average_ua: float, battery_mah: float) -> float:
    """Until the capacity is used up or has discharged by itself."""
    return battery_mah / (average_ua / 1000 * HOURS_A_YEAR + SELF_DISCHARGE * battery_mah)


def mcu_named(name: str) -> Mcu:
    if name not in MCUS:
        raise InputError(f"no processor {name!r} (there are {', '.join(MCUS)})")
    return MCUS[name]


def radio_named(name: str) -> Radio:
    if name not in RADIOS:
        raise InputError(f"no radio {name!r} (there are {', '.join(RADIOS)})")
    return RADIOS[name]
