"""The one rule by which training and clients read image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepreduce.data.convert import as_samples
from deepreduce.data.decode import decode
from deepreduce.errors import DataError
from deepreduce.inference.client.inputs import read_picture
from deepreduce.pictures import SUFFIXES, UndecodableError, files_below, open_file, open_picture

RGB = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)


def clear(mode: str) -> Image.Image:
    """A picture of which half is transparent, with colors behind."""
    image = Image.fromarray(RGB).convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat([[0], [255]], [2, 3], 0).repeat(6, 1).astype(np.uint8)))
    return image.convert(mode)


def palette_with_holes() -> Image.Image:
    image = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE)
    image.info["transparency"] = bytes(range(0, 250, 10))
    return image


PICTURES = {
    "plain.png": Image.fromarray(RGB),
    "grey.png": Image.fromarray(RGB).convert("L"),
    "black and white.png": Image.fromarray(RGB).convert("1"),
    "clear.png": clear("RGBA"),
    "clear grey.png": clear("LA"),
    "palette.png": Image.fromarray(RGB).convert("P"),
    "palette with holes.png": palette_with_holes(),
    "photo.jpg": Image.fromarray(RGB),
    "ink.jpg": Image.fromarray(RGB).convert("CMYK"),
    "x.webp": Image.fromarray(RGB),
    "clear.webp": clear("RGBA"),
    "x.bmp": Image.fromarray(RGB),
    "x.gif": Image.fromarray(RGB),
    "x.ppm": Image.fromarray(RGB),
    "x.pgm": Image.fromarray(RGB).convert("L"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PICTURES)
def test_training_and_clients_see_what_pillow_converts(tmp_path: Path, name: str, channels: int) -> None:
    path = tmp_path / name
    PICTURES[name].save(path)
    with Image.open(path) as image:
        image.load()
    plain = image.convert("RGBA") if "holes" in name else image  # a direct way gives the same, and a warning
    expected = np.asarray(plain.convert("L" if channels == 1 else "RGB")).reshape(5, 6, channels).transpose(2, 0, 1)
    assert np.array_equal(decode([path], 5, 6, channels)[0].numpy(), expected)
    assert np.array_equal(read_picture(path, (channels, 5, 6), resize=False), expected)
    assert np.array_equal(open_picture(image, "it").pixels(channels), expected)
    samples = as_samples([image])[0]
    if len(samples) == channels:
        assert np.array_equal(samples, expected)
    small = decode([path], 2, 3, channels, resize=True)[0].numpy()
    assert np.array_equal(small, read_picture(path, (channels, 2, 3), resize=True))


def refused(folder: Path) -> dict[Path, str]:
    """Files that are not read, and why."""
    deep = np.full((5, 6), 40_000, np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    (folder / "deep.ppm").write_bytes(b"P6 1 1 65535\n" + bytes(6))
    (folder / "deep.pgm").write_bytes(b"P5 1 1 65535\n" + bytes(2))
    (folder / "deep color.png").write_bytes(deep_color())
    for kind in ("TIFF", "EPS", "ICO", "PDF"):
        Image.fromarray(RGB).save(folder / f"{kind}.png", kind)
    whole = folder / "whole.png"
    Image.fromarray(RGB).save(whole)
    (folder / "cut.png").write_bytes(whole.read_bytes()[:60])
    (folder / "empty.png").touch()
    (folder / "huge.webp").write_bytes(
        b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + (16382).to_bytes(3, "little") * 2 + bytes(40)
    )
    deep_ones = dict.fromkeys(("deep.png", "deep.ppm", "deep.pgm", "deep color.png"), "more than 8 bits a channel")
    others = {f"{kind}.png": "not a PNG, JPEG, WebP, BMP, GIF or PPM" for kind in ("TIFF", "EPS", "ICO", "PDF")}
    rest = {"cut.png": "cannot be decoded", "empty.png": "is empty", "none.png": "is missing",
            "huge.webp": "has 16383x16383 pixels"}  # fmt: skip
    return {folder / name: why for name, why in (deep_ones | others | rest).items()}


def deep_color() -> bytes:
    """A PNG of 16 bits a channel in RGB, which Pillow reads but does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(7))) + chunk(b"IEND", b"")


def test_what_is_not_read_is_refused_in_the_same_words(tmp_path: Path) -> None:
    for path, why in refused(tmp_path).items():
        with pytest.raises(UndecodableError, match=why) as first:
            decode([path], 5, 6, 3, resize=True)
        with pytest.raises(UndecodableError) as second:
            read_picture(path, (3, 5, 6), resize=True)
        assert str(first.value) == str(second.value)
        assert str(path) in first.value.message
        assert "0x" not in str(first.value) and "\n" not in str(first.value)


def test_pictures_of_unknown_color_spaces_are_refused() -> None:
    for mode, why in (("HSV", "color space HSV"), ("LAB", "color space LAB"), ("I", "8 bits"), ("F", "8 bits")):
        with pytest.raises(DataError, match=f"image 3 .*{why}"):
            open_picture(Image.new(mode, (4, 4)), "image 3")


def test_of_an_animation_the_first_picture_counts(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (6, 5), (200, 0, 0)), Image.new("RGB", (6, 5), (0, 0, 200))
    for name in ("x.gif", "x.webp", "x.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        pixels = open_file(tmp_path / name).pixels(3)
        assert pixels[0].min() > 150 and pixels[2].max() < 50, name


def test_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt", "in/c.webp", "in/deeper/d.gif", ".hidden/x.png", "in/.y.png"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).touch()
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "e.bmp").touch()
    (tmp_path / "f" / "link").symlink_to(tmp_path / "else")
    (tmp_path / "f" / "in" / "round").symlink_to(tmp_path / "f")  # a circle
    (tmp_path / "f" / "z.png").symlink_to("nowhere.png")
    found, others = files_below(tmp_path / "f", SUFFIXES)
    assert [f.relative_to(tmp_path / "f").as_posix() for f in found] == [
        "a.jpg", "b.PNG", "in/c.webp", "in/deeper/d.gif", "link/e.bmp", "z.png",
    ]  # fmt: skip
    assert [f.name for f in others] == ["notes.txt"]
