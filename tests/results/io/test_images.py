from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detinv.errors import ConfigError
from detinv.results.io.files import write_png
from detinv.results.io.images import read_images


def _image(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 6, 9), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def test_read_images_is_sorted_and_exact(tmp_path: Path) -> None:
    for name, seed in (("b.png", 1), ("a.PNG", 0)):
        write_png(tmp_path / name, _image(seed))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "._a.png").write_bytes(b"left by a system")
    names, images = read_images(tmp_path)
    assert names == ["a.PNG", "b.png"]
    assert all(torch.equal(image, _image(seed)) for seed, image in enumerate(images))


def test_read_images_follows_the_annotations(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_png(tmp_path / "a.png", _image(0))
    write_png(tmp_path / "sub" / "b.png", _image(1))
    names, images = read_images(tmp_path, ["sub/b.png", "a.png"])
    assert names == ["sub/b.png", "a.png"]
    assert torch.equal(images[0], _image(1))


def test_read_images_makes_grey_and_palette_images_rgb(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "b.jpg")
    _, images = read_images(tmp_path)
    assert torch.equal(images[0], torch.from_numpy(grey).expand(3, 3, 4))
    assert images[1].shape == (3, 3, 4)


def test_read_images_names_a_broken_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", _image(0))
    data = (tmp_path / "a.png").read_bytes()
    for broken in (data[:60], b"", b"no image", data[:-30]):
        (tmp_path / "b.png").write_bytes(broken)
        with pytest.raises(ConfigError, match="b.png cannot be read") as caught:
            read_images(tmp_path)
        assert "\n" not in str(caught.value)


def test_read_images_suggests_the_nearest_name(tmp_path: Path) -> None:
    write_png(tmp_path / "frame_01.png", _image(0))
    with pytest.raises(ConfigError, match="frame_1.png .* did you mean 'frame_01.png'"):
        read_images(tmp_path, ["frame_1.png"])


def test_read_images_names_an_unusable_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_images(tmp_path / "missing")
    with pytest.raises(ConfigError, match="holds no PNG or JPEG"):
        read_images(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        read_images(tmp_path / "file")
