"""Images that cannot be used: each is refused by its file, whatever it claims to be."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detinv.errors import ConfigError, LayoutError
from detinv.inputs.file_names import within
from detinv.results.io.images import read_image, read_images

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


PNG, JPEG = (encoded(Image.fromarray(PIXELS), form) for form in ("PNG", "JPEG"))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def claiming(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of a few bytes that claims to have that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    )


def deep(colour: int, channels: int) -> bytes:
    """A PNG with 16 bits per channel."""
    header = struct.pack(">IIBBBBB", 64, 48, 16, colour, 0, 0, 0)
    rows = zlib.compress(bytes(48 * (1 + 2 * channels * 64)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animation() -> bytes:
    frames = [Image.fromarray(np.roll(PIXELS, shift, 0)) for shift in range(3)]
    return encoded(frames[0], save_all=True, append_images=frames[1:])


FILES = {
    # name: (file, what it holds, what the refusal names)
    "empty": ("a.png", b"", "cannot be read as PNG or JPEG"),
    "one byte": ("a.png", b"\x89", "cannot be read"),
    "signature alone": ("a.png", PNG[:8], "cannot be read"),
    "cut in the header": ("a.png", PNG[:20], "cannot be read"),
    "cut in the pixels": ("a.png", PNG[: len(PNG) // 2], "cannot be read"),
    "cut jpeg": ("a.jpg", JPEG[: len(JPEG) // 2], "cannot be read"),
    "jpeg signature alone": ("a.jpg", JPEG[:2], "cannot be read"),
    "wrong checksum": ("a.png", PNG[:29] + bytes(4) + PNG[33:], "cannot be read"),
    "words": ("a.png", b"a picture of a star", "cannot be read"),
    "page": ("a.jpg", b"<!DOCTYPE html><html></html>", "cannot be read"),
    "vector picture": ("a.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "cannot be read"),
    "bitmap called png": ("a.png", encoded(Image.fromarray(PIXELS), "BMP"), "it is a BMP picture; convert"),
    "tiff called png": ("a.png", encoded(Image.fromarray(PIXELS), "TIFF"), "it is a TIFF picture; convert"),
    "gif called png": ("a.png", encoded(Image.fromarray(PIXELS).convert("P"), "GIF"), "it is a GIF picture; convert"),
    "webp called jpg": ("a.jpg", encoded(Image.fromarray(PIXELS), "WEBP"), "it is a WebP picture; convert"),
    "heic called jpg": ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC picture; convert"),
    "avif called jpg": ("a.jpg", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "it is an AVIF picture; convert"),
    "film called jpg": ("a.jpg", b"\0\0\0\x18ftypqt  \0\0\0\0", "it is a video, or"),
    "pointer of Git LFS": ("a.png", b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
    "jpeg of 12 bits": ("a.jpg", JPEG.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "cannot be read"),
    "no pixel": ("a.png", claiming(0, 0), "cannot be read"),
    "no column": ("a.png", claiming(0, 5), "cannot be read"),
    "a gigapixel": ("a.png", claiming(50_000, 50_000), "more than 89 megapixels; make it smaller"),
    "a hundred megapixels": ("a.png", claiming(10_000, 10_000), "more than 89 megapixels; make it smaller"),
    "four billion columns": ("a.png", claiming(2**32 - 1, 2**32 - 1), "more than 89 megapixels"),
    "unknown depth": ("a.png", claiming(4, 4, depth=7), "cannot be read"),
    "fewer pixels than claimed": ("a.png", claiming(40, 40), "cannot be read"),
    "sixteen bits": ("a.png", encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)), "convert it to 8 bits"),
    "sixteen bits of colour": ("a.png", deep(2, 3), "convert it to 8 bits"),
    "sixteen bits of colour and transparency": ("a.png", deep(6, 4), "convert it to 8 bits"),
    "sixteen bits of grey and transparency": ("a.png", deep(4, 2), "convert it to 8 bits"),
    "animation": ("a.png", animation(), "an animation of 3 images"),
    "narrow as a line": ("a.png", encoded(Image.new("RGB", (1, 1000))), "too narrow for this detector"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.mark.parametrize(("name", "data", "naming"), FILES.values(), ids=FILES)
def test_what_is_no_image_is_refused(name, data, naming, refused, folder: Path):
    (folder / "before.png").write_bytes(PNG)
    (folder / name).write_bytes(data)
    refused("detect", "images=photos", "out_dir=out", naming=(name, naming))


def test_folders_that_hold_no_image_are_refused(refused, folder: Path, tmp_path: Path):
    refused("detect", "images=photos", "out_dir=out", naming="photos holds no PNG or JPEG file")
    (folder / "notes.txt").write_text("")
    (folder / ".hidden.png").write_bytes(PNG)
    (folder / "a.png").mkdir()
    refused("detect", "images=photos", "out_dir=out", naming="photos holds no PNG or JPEG file")
    refused("detect", "images=photos/notes.txt", "out_dir=out", naming="is a file, not a folder")
    refused("detect", f"images={'x' * 300}", "out_dir=out", naming="does not exist")


@pytest.mark.parametrize(
    ("name", "naming"),
    [
        ("../../etc/passwd", "leads out of photos"),
        ("../secret.png", "leads out of photos"),
        ("sub/../../secret.png", "leads out of photos"),
        ("/etc/passwd", "leads out of photos"),
        ("..\\secret.png", "leads out of photos"),
        ("C:\\secret.png", "leads out of photos"),
        ("\\\\server\\secret.png", "leads out of photos"),
        ("a\0.png", "leads out of photos"),
        ("a.pgn", "did you mean 'a.png'?"),
        ("x" * 3000 + ".png", "is not in photos"),
        ("\x1b[2J.png", r"image \x1b[2J.png of the annotations is not in photos"),
        (".", "is not in photos"),
        ("", "image '' of the annotations is not in photos"),
        ("a.png ", "image 'a.png ' of the annotations is not in photos"),
        ("~/secret.png", "is not in photos"),
    ],
)
def test_annotations_name_only_files_of_the_folder(name, naming, refused, folder: Path, tmp_path: Path):
    (folder / "a.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    content = {"images": [{"id": 1, "file_name": name, "width": 64, "height": 48}], "annotations": [], "categories": []}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    refused("detect", "images=photos", "annotations=instances.json", "out_dir=out", naming=naming)


def test_an_image_of_another_size_than_annotated_is_refused(refused, folder: Path, tmp_path: Path):
    (folder / "a.png").write_bytes(PNG)
    image = {"id": 1, "file_name": "a.png", "width": 48, "height": 64}
    (tmp_path / "instances.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    naming = "image a is annotated as 48 x 64 pixels, but its file has 64 x 48"
    refused("detect", "images=photos", "annotations=instances.json", "out_dir=out", naming=naming)


def test_training_photographs_are_refused_alike(refused, folder: Path, tmp_path: Path):
    cases = {"a.png": "cannot be read", "../secret.png": "leads out of", "b.png": "does not exist"}
    (folder / "a.png").write_bytes(PNG[:60])
    (tmp_path / "secret.png").write_bytes(PNG)
    for name, naming in cases.items():
        image = {"id": 1, "file_name": name, "width": 64, "height": 48}
        content = json.dumps({"images": [image], "annotations": [], "categories": []})
        (tmp_path / "train.json").write_text(content)
        (tmp_path / "val.json").write_text(content)
        words = ("model=bccd_retinanet", "data.root=.", "data.images=photos", "out_dir=out")
        refused("train", *words, naming=(name, naming))


def test_names_inside_the_folder_are_kept(tmp_path: Path):
    for name in ("a.png", "sub/b.png", "..c.png", "a..b", "sub/./b.png", "ünïcode 1.png"):
        assert within(tmp_path, name) == tmp_path / name
    with pytest.raises(LayoutError, match="leads out of"):
        within(tmp_path, "sub/..")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_kinds_of_pixels_are_read_as_colours(mode, tmp_path: Path):
    image = Image.fromarray(PIXELS).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path)
    with Image.open(path) as file:
        expected = np.array(file.convert("RGB"))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), expected)


def test_a_palette_with_transparent_colours_does_no_harm(tmp_path: Path):
    Image.fromarray(PIXELS).convert("P").save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert read_image(tmp_path / "a.png").shape == (3, 48, 64)


def test_of_a_jpeg_with_a_second_picture_the_first_is_read(tmp_path: Path):
    """As telephones write them, with a map of depth or of brightness."""
    first, second = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::2, ::2])
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=90)
    (tmp_path / "b.jpg").write_bytes(encoded(first, "JPEG", quality=90))
    with Image.open(tmp_path / "a.jpg") as file:
        assert (file.format, file.n_frames) == ("MPO", 2)
    assert np.array_equal(read_image(tmp_path / "a.jpg").numpy(), read_image(tmp_path / "b.jpg").numpy())


def test_pictures_in_other_formats_are_mentioned(folder: Path, caplog):
    for name in ("a.webp", "b.HEIC", "notes.txt"):
        (folder / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"holds no PNG or JPEG file, but .heic, .webp, which can be converted"):
        read_images(folder)
    (folder / "c.png").write_bytes(PNG)
    assert read_images(folder)[0] == ["c.png"]
    assert "only PNG and JPEG files are read, not .heic, .webp" in caplog.text


def test_the_smallest_image_is_an_image(folder: Path):
    (folder / "a.png").write_bytes(encoded(Image.new("RGB", (1, 1), (1, 2, 3))))
    _, (image,) = read_images(folder)
    assert image.flatten().tolist() == [1, 2, 3]


def test_a_name_that_is_no_text_is_refused(folder: Path):
    try:
        Path(f"{folder}/a\udcff.png").write_bytes(PNG)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    with pytest.raises(ConfigError, match=r"photos: the name 'a\\udcff.png' is not valid text"):
        read_images(folder)


def test_a_file_that_may_not_be_read_is_refused(folder: Path, monkeypatch):
    (folder / "a.png").write_bytes(PNG)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(folder / "a.png"))

    # Not by its mode, which does not keep an administrator out.
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ConfigError, match=r"a.png cannot be read .*Permission denied"):
        read_images(folder)


def test_links_to_nothing_are_named(tmp_path: Path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "missing.jpg")
    for names in (None, ["a.jpg"]):
        with pytest.raises(ConfigError, match=r"image .*a\.jpg is a link that leads to no file"):
            read_images(tmp_path, names)


def test_a_folder_of_folders_says_which_one_to_give(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "A.JPG").touch()
    with pytest.raises(ConfigError, match=f"holds no PNG or JPEG file; give images={tmp_path}/photos, which does"):
        read_images(tmp_path)
