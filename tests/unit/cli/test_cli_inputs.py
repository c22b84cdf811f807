"""What `predict` and `serve` read: pictures, arrays, addresses, sizes."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from deepreduce.cli.options import parse_normalization
from deepreduce.cli.units import parse_address, parse_bytes, shown_address
from deepreduce.data.decode import decode
from deepreduce.errors import DataError, PlanError, SettingError
from deepreduce.inference.client.classification import predict_prepared
from deepreduce.inference.client.inputs import read_input, read_picture
from deepreduce.inference.transport.errors import PeerError
from deepreduce.inference.transport.frames import Reason
from deepreduce.plan import normalized, pictures_of
from plan_samples import conv, plan_of

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 6, 3)).astype(np.uint8)
PLAN = plan_of(conv("c", "input", 2), input_shape=(3, 5, 6))
PICTURED = dataclasses.replace(PLAN, pictures=pictures_of((3, 5, 6), (0.5,) * 3, (0.25,) * 3))


def saved(tmp_path, image, name="x.png", **settings):
    image.save(tmp_path / name, **settings)
    return tmp_path / name


def test_pictures_of_another_size_are_stretched_on_request(tmp_path):
    path = saved(tmp_path, Image.fromarray(RGB).resize((9, 4)))
    found = read_picture(path, (3, 5, 6), resize=True)
    assert np.array_equal(found, decode([path], 5, 6, 3, resize=True)[0].numpy())
    with pytest.raises(DataError, match=r"9x4 pixels, the plan takes 6x5.*`resize`"):
        read_picture(path, (3, 5, 6), resize=False)


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    for path, reason in (
        (tmp_path / "text.png", "not a PNG"),
        (tmp_path / "none.png", "missing"),
        (tmp_path, "decoded"),
    ):
        with pytest.raises(DataError, match=reason) as failure:
            read_picture(path, (3, 5, 6), resize=True)
        assert str(path) in failure.value.message
        assert "\n" not in str(failure.value)


def test_inputs_of_plans_with_and_without_pictures(tmp_path):
    path = saved(tmp_path, Image.fromarray(RGB))
    found = read_input(path, PICTURED, array=False, resize=False)
    assert np.array_equal(found, normalized(PICTURED, RGB.transpose(2, 0, 1)[None])[0])
    with pytest.raises(PlanError, match="does not say how pictures"):
        read_input(path, PLAN, array=False, resize=False)
    values = RNG.normal(size=(3, 5, 6))
    np.save(tmp_path / "x.npy", values)
    for plan in (PLAN, PICTURED):
        assert np.array_equal(read_input(tmp_path / "x.npy", plan, array=False, resize=False), values)
    bad = {"shape": values[0], "kind": values.astype(str), "objects": np.array([{}]), "nan": values * np.nan}
    for name, array in bad.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        with pytest.raises(DataError, match=name):
            read_input(tmp_path / f"{name}.npy", PLAN, array=False, resize=False)
    with pytest.raises(DataError, match="holds no array"):
        read_input(path, PLAN, array=True, resize=False)


def test_addresses():
    assert parse_address("127.0.0.1:7000") == ("127.0.0.1", 7000)
    assert parse_address("[::1]:0") == ("::1", 0)
    assert parse_address("a-host.example:65535") == ("a-host.example", 65535)
    assert shown_address("::1", 7) == "[::1]:7"
    for text in ("", "host", "host:", ":7000", "::1:7000", "host:70000", "host:-1", "[::1]", "a:b:7"):
        with pytest.raises(SettingError):
            parse_address(text)
    with pytest.raises(SettingError):
        parse_address("host:0", 1)


def test_sizes():
    assert [parse_bytes(t, "x") for t in ("5", "1kB", "2 MB", "1.5GB", "1GiB", "3t")] == [
        5, 1000, 2 * 10**6, 15 * 10**8, 2**30, 3 * 10**12,
    ]  # fmt: skip
    for text in ("", "GB", "-1", "1XB", "0"):
        with pytest.raises(SettingError):
            parse_bytes(text, "x")


def test_a_server_that_refuses_what_it_has_just_prepared_is_not_asked_for_ever():
    class Refused:
        stored, most_prepared, prepared, asked, mode = True, 5, 2, 0, "prepared"

        def prepare(self, n):
            self.prepared += n

        def predict(self, images, more):
            self.prepared -= 1
            self.asked += 1
            assert self.asked < 10
            raise PeerError("it does not have the prepared batch", reason=Reason.BATCH)

    client, notes = Refused(), []
    with pytest.raises(PeerError):
        predict_prepared(client, None, 3, 0.0, notes.append)
    assert (client.asked, len(notes)) == (3, 2)


def test_normalizations_are_read():
    assert parse_normalization(None, None, None) is None
    assert parse_normalization("0.5, .25,0.125", "1", None) == ((0.5, 0.25, 0.125), (1.0,))
    assert parse_normalization(None, None, "none") == ((0.0,), (1.0,))
    assert parse_normalization(None, None, "imagenet") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("0.5", None, None), "must be given together"),
        ((None, "0.5", None), "must be given together"),
        (("0.5", "0.5", "imagenet"), "--normalize says what --mean and --std are"),
        ((None, None, "cifar"), "'cifar' is not known"),
        (("half", "0.5", None), "--mean 'half' cannot be read"),
        (("0.5", "0.5;0.5", None), "--std '0.5;0.5' cannot be read"),
    ],
)
def test_normalizations_that_cannot_be_read_say_why(given, says):
    with pytest.raises(SettingError) as caught:
        parse_normalization(*given)
    assert says in str(caught.value) and caught.value.hint
