"""What a file is by its first bytes, for messages about files that are not what they are taken for."""

_FTYP = {b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"mif1": "a HEIC picture", b"avif": "an AVIF picture"}
_STARTS = (
    (b"version https://git-lfs", "a pointer of Git LFS instead of the file itself: run `git lfs pull`"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xffO\xffQ", "a JPEG 2000 picture"),
    (b"\0\5\x16\7", "a file of macOS that only accompanies another"),
    (b"PK\3\4", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"<", "a web page or other markup"),
)

HEAD = 32
"""How many first bytes `described` needs."""


def described(head: bytes) -> str:
    """Return what a file is that begins with these bytes, such as "a WebP picture"; nothing if it is not known."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP picture"
    if head[4:8] == b"ftyp":
        return _FTYP.get(head[8:12], "a video, or a picture in a format of videos")
    if not head:
        return "an empty file"
    return next((name for start, name in _STARTS if head.startswith(start)), "")
