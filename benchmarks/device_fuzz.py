"""What comes over the wire cannot break a node or a gateway, and no power cut loses a model: the long form of tests/test_device_memory.py.

    fuzz        the device in C with ASan and UBSan: from noise to requests that are almost right, with a wire and a flash that misbehave
    power cut   two images deployed in turn, the power cut at each flash write and erase in three ways, alone and with a second cut behind it
    frames      the gateway's frame parser: pieces of frames, answers and noise; every byte in one class, however the stream is cut

    python -m benchmarks.device_fuzz [--inputs 10000000] [--frames 1000000] [--seed 1]

Exit code 1 if anything fails; a sanitizer ends the program with its report.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cobs import cobs

from edge_wz.formats.framing import FrameDecoder
from firmware_sim import firmware
from tests.device_wire import COUNTERS, lines, make_image, message, model

PROGRAMS = Path(__file__).parent.parent / "tests" / "device"
COMPILE = ("gcc", "-O1", *firmware.WARNINGS, *firmware.SANITIZERS, f"-I{firmware.RUNTIME}")
PIECES = 12  # of a stream


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("inputs", 10_000_000), ("frames", 1_000_000), ("seed", 1)):
        options.add_argument(f"--{name}", type=int, default=value)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = [folder / f"{modulus}.img" for modulus in (64, 16)]
        for path in images:
            path.write_bytes(make_image(model(int(path.stem))))
        show("power cut", lambda: run(folder, "power_cut", *map(str, images)))
        show("fuzz", lambda: run(folder, "fuzz", str(asked.inputs), str(asked.seed), str(images[0])))
    show("frames", lambda: fuzz_frames(asked.frames, asked.seed))


def show(what, measure) -> None:  # type: ignore[no-untyped-def]
    begun_s = time.monotonic()
    counted = measure()
    words = ", ".join(f"{count} {name}" for name, count in counted.items())
    print(f"{what:<10} {words}; {time.monotonic() - begun_s:.0f} s", flush=True)


def run(folder: Path, name: str, *arguments: str) -> dict[str, int]:
    """The counts in the last line of a program of tests/device."""
    sources = [PROGRAMS / f"{name}.c", PROGRAMS / "ram_port.c", *firmware.RUNTIME.glob("*.c"), *(firmware.RUNTIME / "device").glob("*.c")]
    subprocess.run([*COMPILE, "-o", folder / name, *sources], check=True)
    done = subprocess.run([folder / name, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} fails:\n{done.stdout}{done.stderr}")
    return {word: int(count) for word, count in re.findall(r"(\w+) (\d+)", done.stdout)}


def fuzz_frames(inputs: int, seed: int) -> dict[str, int]:
    """Each input a stream, given to two decoders that get it in different pieces."""
    rng = random.Random(seed)
    answers = [lines(message(*COUNTERS, 1, rng.randbytes(rng.randrange(80)), number)) for number in range(200)]
    totals = dict.fromkeys(("inputs", "bytes", "good", "bad", "discarded", "console"), 0)
    for _ in range(inputs):
        stream = b"".join(piece(rng, answers) for _ in range(rng.randrange(1, PIECES)))
        at = rng.randrange(len(stream) + 1)
        whole, parts = FrameDecoder(), FrameDecoder()
        frames = [(frame.status, frame.payload) for frame in whole.feed(stream)]
        packets = [raw for part in (stream[:at], stream[at:]) for raw in parts.feed_packets(part)[0]]
        if packets != [payload for status, payload in frames if status.value == "ok"] or fates(whole) != fates(parts):
            sys.exit(f"cut at {at}, it is read in another way: {stream.hex()}")
        if sum(fates(whole)) != len(stream):
            sys.exit(f"bytes in no class: {stream.hex()}")
        totals["inputs"] += 1
        totals["bytes"] += len(stream)
        for name, count in zip(("good", "bad", "discarded", "console"), fates(whole), strict=False):
            totals[name] += count
    return totals


def fates(decoder: FrameDecoder) -> tuple[int, ...]:
    return (decoder.good_bytes, decoder.bad_bytes, decoder.discarded_bytes, decoder.console_bytes, decoder.pending_bytes)


def piece(rng: random.Random, answers: list[bytes]) -> bytes:
    """A frame, an answer, the zero between them, or noise; sometimes with a byte damaged or the end missing."""
    kind = rng.randrange(8)
    if kind < 3:
        out = cobs.encode(rng.randbytes(rng.randrange(1, 60))) + b"\0"
    elif kind < 5:
        out = rng.choice(answers)
    elif kind == 5:
        out = b"\0"
    elif kind == 6:
        out = rng.randbytes(rng.randrange(1, 30))
    else:
        out = b"\0\x06\x09"
    fault = rng.randrange(6)
    if fault == 0:
        at = rng.randrange(len(out))
        out = out[:at] + bytes([out[at] ^ 1 << rng.randrange(8)]) + out[at + 1 :]
    elif fault == 1:
        out = out[: rng.randrange(len(out) + 1)]
    return out


if __name__ == "__main__":
    main()
