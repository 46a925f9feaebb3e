"""Bundles: whole models come back, equal models give equal bytes, damage is typed and names file and member."""

import hashlib
import io
import json
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest

from edge_wz.errors import FormatError, InputError, NewerVersion, StorageError
from edge_wz.formats import blob, bundle
from edge_wz.model import BlockDecoding, Model, Propagation, RefinementModel, SideFilter, StateSpace

NODE = blob.make_nested(32, 100, 4, 0.1, -3.0, [(8, 12, 2048, [4096])])
OTHER_NODE = blob.make_nested(16, 100, 4, 0.1, -3.0, [(8, 12, 2048, [4096])])
SMALL = Model(NODE, "nearest")


def full_model():
    rng = np.random.default_rng(1)
    m, d, taps = 2, 3, 2
    return Model(
        NODE, "kalman", source="x", side=("y1", "Nässe"), unit="°C", period_s=0.5, name="full", max_error=0.25,
        state_space=StateSpace(*(rng.normal(size=shape) for shape in
                                 [(d, d), (1 + m, d), (d, d), (d, 1 + m), (1 + m, 1 + m), (1 + m,)])),
        side_filter=SideFilter(taps, rng.normal(size=1 + m * taps), rng.normal(size=(5, 5)), rng.normal(size=4)),
        refinement=RefinementModel(m, rng.normal(size=(1, 2, 29)), rng.normal(size=(1, 2, 29, 29)), rng.normal(size=(1, 2, 5))),
        propagation=Propagation(2),
        provenance={"recording": "a.csv", "rows": [0, 10]}, measured={"sqnr_db": np.float64(12.5), "bins": np.int64(3)},
    )


def block_model():
    sent = np.arange(2 * 64).reshape(2, 64) % 3 == 0
    node = blob.make_syndrome(64, 100, 0.1, -3.0, 8, [(2, 12, 2048, [4096], sent), (4, 12, 2048, [4096], sent)])
    space = StateSpace(*(np.ones(shape) for shape in [(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1,)]))
    density = np.array([[0.9, 1.0], [0.1, 30.0]])
    return Model(node, "syndrome", state_space=space, block=BlockDecoding(np.array([2.0, 3.0]), np.array([5.0, 1.5]), density, 2))


def rewritten(model=SMALL, manifest=None, members=None, drop=()):
    """A bundle whose manifest and members were changed, with digests that hold unless given."""
    held = bundle.read_members(bundle.pack(model))
    fields_of_manifest = json.loads(held.pop("manifest.json"))
    held.update(members or {})
    fields_of_manifest["members"] = {name: hashlib.sha256(data).hexdigest() for name, data in held.items()}
    fields_of_manifest.update(manifest or {})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest.json", json.dumps(fields_of_manifest))
        for name, data in held.items():
            if name not in drop:
                archive.writestr(name, data)
    return out.getvalue()


def assert_same_part(mine, theirs):
    assert type(mine) is type(theirs)
    for field in () if mine is None else fields(mine):
        a, b = getattr(mine, field.name), getattr(theirs, field.name)
        assert np.array_equal(a, b) and type(a) is type(b)


def test_every_part_is_in_some_model():
    assert {part for part in bundle.PARTS for model in (full_model(), block_model()) if getattr(model, part) is not None} == set(bundle.PARTS)


def test_a_block_model_comes_back():
    model = block_model()
    again = bundle.parse(bundle.pack(model))
    assert again.node.blob == model.node.blob and again.model_id == model.model_id
    for part in bundle.PARTS:
        assert_same_part(getattr(again, part), getattr(model, part))


def test_a_whole_model_comes_back():
    model = full_model()
    again = bundle.parse(bundle.pack(model))
    for name in ("decoder", "source", "side", "unit", "period_s", "name", "max_error", "provenance"):
        assert getattr(again, name) == getattr(model, name)
    assert again.measured == {"sqnr_db": 12.5, "bins": 3}
    assert again.node.blob == model.node.blob and again.model_id == model.model_id
    for part in bundle.PARTS:
        assert_same_part(getattr(again, part), getattr(model, part))
    with pytest.raises(ValueError, match="read-only"):
        again.state_space.A[0, 0] = 1


def test_equal_models_give_equal_bytes():
    extra = {"report/rate.svg": b"<svg/>", "estimator.onnx": b"onnx"}
    data = bundle.pack(full_model(), extra)
    assert data == bundle.pack(full_model(), extra) == bundle.pack(bundle.parse(data), extra)
    assert bundle.read_members(data)["report/rate.svg"] == b"<svg/>"


def test_any_tool_opens_it(tmp_path):
    path = tmp_path / "m.ewz"
    bundle.save(path, full_model())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.read("node.bin") == NODE.blob
        arrays = np.load(io.BytesIO(archive.read("gateway.npz")), allow_pickle=False)
        assert arrays["state_space.A"].shape == (3, 3)
    assert manifest["format"] == 1 and manifest["model_id"] == NODE.model_id.hex()
    assert manifest["members"]["node.bin"] == hashlib.sha256(NODE.blob).hexdigest()


def outcome(data):
    """Bytes of the model, or "refused"; anything but a one-line FormatError escapes."""
    try:
        return bundle.pack(bundle.parse(data, "m.ewz"))
    except FormatError as error:
        assert str(error).startswith("m.ewz: ") and "\n" not in str(error)
        return "refused"


def test_every_truncation_is_refused():
    data = bundle.pack(SMALL)
    assert {outcome(data[:size]) for size in range(len(data))} == {"refused"}


def test_every_flipped_bit_is_refused_or_harmless():
    """What is not refused (zip timestamps, attributes) gives exactly the same model."""
    data = bundle.pack(SMALL)
    outcomes = []
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        outcomes.append(outcome(bytes(flipped)))
    assert set(outcomes) == {"refused", data}
    assert outcomes.count("refused") > 0.6 * len(outcomes)


def test_sampled_flips_of_a_full_bundle():
    data = bundle.pack(full_model(), {"report/a": b"text"})
    held = bundle.pack(full_model())
    for bit in range(0, 8 * len(data), 97):
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        assert outcome(bytes(flipped)) in ("refused", held)


def without(part, name):
    """gateway.npz of the full model without one array."""
    arrays = dict(np.load(io.BytesIO(bundle.read_members(bundle.pack(full_model()))["gateway.npz"])))
    del arrays[f"{part}.{name}"]
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def pickled():
    out = io.BytesIO()
    np.savez(out, **{"state_space.A": np.array([{"a": 1}], dtype=object)})
    return out.getvalue()


@pytest.mark.parametrize(("data", "message"), [
    (b"", "not a bundle"),
    (b"PK\x03\x04 nothing", "not a bundle"),
    (rewritten(drop=["node.bin"]), "node.bin: missing"),
    (rewritten(drop=["gateway.npz"]), "gateway.npz: missing"),
    (rewritten(manifest={"members": {}}), "manifest.json: lists no node.bin"),
    (rewritten(members={"node.bin": b"WZNB"}), "node.bin: node blob: only 4 bytes"),
    (rewritten(members={"node.bin": OTHER_NODE.blob}), "node.bin: model id"),
    (rewritten(manifest={"scheme": "predictive"}), "scheme nested, the manifest says predictive"),
    (rewritten(members={"gateway.npz": b"no zip"}), "gateway.npz"),
    (rewritten(members={"gateway.npz": pickled()}), "gateway.npz: .*pickle"),
    (rewritten(full_model(), members={"gateway.npz": without("state_space", "Q")}), "no array state_space.Q"),
    (rewritten(full_model(), members={"gateway.npz": without("side_filter", "taps")}), "no array side_filter.taps"),
    (rewritten(manifest={"format": "1"}), "format is '1'"),
    (rewritten(manifest={"format": True}), "format is True"),
    (rewritten(manifest={"side": "y"}), "'side' is missing or of the wrong kind"),
    (rewritten(manifest={"side": [1]}), "'side' is not a list of names"),
    (rewritten(manifest={"period_s": -1}), "period_s is -1"),
    (rewritten(manifest={"period_s": True}), "'period_s'"),
    (rewritten(manifest={"max_error": 0}), "max_error is 0"),
    (rewritten(manifest={"decoder": "midpoint"}), "decoder 'midpoint' is none of nearest, posterior, kalman"),
    (rewritten(manifest={"decoder": "kalman"}), "needs a state space"),
    (rewritten(manifest={"measured": []}), "'measured'"),
])
def test_what_is_wrong_is_named(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        bundle.parse(data, "m.ewz")
    assert str(caught.value).startswith("m.ewz: ")


def test_unlisted_and_doubled_members_are_refused():
    out = io.BytesIO(bundle.pack(SMALL))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("report/x", b"x")
    with pytest.raises(FormatError, match="report/x: not listed"):
        bundle.parse(out.getvalue())
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("node.bin", b"x")
    with pytest.raises(FormatError, match="same name"):
        bundle.parse(out.getvalue())


def test_newer_versions_are_told_apart():
    with pytest.raises(NewerVersion, match="format 2, this program reads up to 1"):
        bundle.parse(rewritten(manifest={"format": 2, "side": None}))
    newer = bytearray(NODE.blob)
    newer[4] = 9
    with pytest.raises(NewerVersion, match="m.ewz: node.bin: .*version 9"):
        bundle.parse(rewritten(members={"node.bin": bytes(newer)}), "m.ewz")


def test_models_that_cannot_be_are_not_packed():
    model = full_model()
    with pytest.raises(FormatError, match="state_space.C has shape"):
        bundle.pack(replace(model, side=("y1",)))
    with pytest.raises(FormatError, match="names one twice"):
        bundle.pack(replace(model, side=("y1", "y1")))
    with pytest.raises(FormatError, match="not finite"):
        bundle.pack(replace(model, state_space=replace(model.state_space, A=np.full((3, 3), np.nan))))
    with pytest.raises(FormatError, match="manifest.json: Out of range float"):
        bundle.pack(replace(model, measured={"sqnr_db": float("inf")}))
    with pytest.raises(FormatError, match="no place"):
        bundle.pack(model, {"../escape": b""})


def test_a_bundle_that_unpacks_to_too_much_is_refused(monkeypatch):
    data = bundle.pack(SMALL)
    monkeypatch.setattr(bundle, "MAX_BUNDLE_BYTES", 100)
    with pytest.raises(FormatError, match="unpacks to more than 100 bytes"):
        bundle.parse(data)


def test_files(tmp_path):
    path = tmp_path / "m.ewz"
    with pytest.raises(InputError, match="m.ewz: cannot be read: No such file"):
        bundle.load(path)
    bundle.save(path, SMALL)
    assert bundle.load(path).model_id == NODE.model_id
    assert [p.name for p in tmp_path.iterdir()] == ["m.ewz"]
    path.write_bytes(b"broken")
    with pytest.raises(FormatError, match="m.ewz: not a bundle"):
        bundle.load(path)
    with pytest.raises(StorageError, match="cannot be written: No such file"):
        bundle.save(tmp_path / "none" / "m.ewz", SMALL)
