"""Pictures as they really arrive: each function writes one file and returns its path.

``ACCEPTED`` maps a name to (writer, words that the note must hold or None); ``REFUSED`` maps a name to (writer, words
that the error must hold).
"""

import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin


def picture(size=(48, 32)) -> Image.Image:
    """A red left half and a blue right half with a gradient: neither symmetric nor flat."""
    width, height = size
    samples = np.zeros((height, width, 3), np.uint8)
    samples[:, : width // 2, 0] = 220
    samples[:, width // 2 :, 2] = 220
    samples[:, :, 1] = np.linspace(0, 120, height, dtype=np.uint8)[:, None]
    return Image.fromarray(samples)


def saver(name, change=lambda image: image, **options):
    """A writer that saves a changed picture under ``name``."""

    def write(folder):
        change(picture()).save(folder / name, **options)
        return folder / name

    return write


def byte_writer(name, content):
    def write(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return write


def sixteen_bit(folder):
    Image.fromarray(np.linspace(0, 65535, 48 * 32).reshape(32, 48).astype(np.uint16)).save(folder / "deep.png")
    return folder / "deep.png"


def sixteen_bit_colour(folder):
    rows = b"".join(b"\0" + struct.pack(">3H", 65535, 32768, 0) * 12 for _ in range(10))
    return png(folder / "deep-colour.png", 12, 10, 16, 2, zlib.compress(rows))


def floating(folder):
    Image.fromarray(np.linspace(0, 1, 48 * 32, dtype=np.float32).reshape(32, 48)).save(folder / "float.tiff")
    return folder / "float.tiff"


def not_a_number(folder):
    Image.fromarray(np.full((32, 48), np.nan, np.float32)).save(folder / "nan.tiff")
    return folder / "nan.tiff"


def png(path, width, height, depth, colour, data):
    """A PNG with the given header, whatever the data."""
    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def bomb(folder):
    """A few bytes that claim 2,500 megapixels."""
    return png(folder / "bomb.png", 50_000, 50_000, 8, 2, zlib.compress(b"\0" * 1000))


def wide_bomb(folder):
    """Over our limit, under the one at which Pillow itself refuses."""
    return png(folder / "wide.png", 30_000, 5_000, 8, 2, zlib.compress(b"\0" * 1000))


def negative_bmp(folder):
    path = saver("negative.bmp")(folder)
    content = bytearray(path.read_bytes())
    content[18:22] = struct.pack("<i", -48)
    path.write_bytes(content)
    return path


def text_bomb(folder):
    """A small picture whose compressed comment swells to 70 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 70_000_000, zip=True)
    picture().save(folder / "comment.png", pnginfo=info, compress_level=1)
    return folder / "comment.png"


def rotated(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(folder / "phone.jpg", exif=exif, quality=95)
    return folder / "phone.jpg"


def broken_exif(folder):
    picture().save(folder / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xee" * 40, quality=95)
    return folder / "exif.jpg"


def profiled(folder):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture().save(folder / "profile.png", icc_profile=lab)
    return folder / "profile.png"


def broken_profile(folder):
    picture().save(folder / "profile-broken.jpg", icc_profile=b"no profile at all", quality=95)
    return folder / "profile-broken.jpg"


def palette_with_transparency(folder):
    image = picture().quantize(16)
    image.save(folder / "palette.gif", transparency=image.getpixel((0, 0)))
    return folder / "palette.gif"


def animated(name):
    def write(folder):
        frames = [picture(), Image.new("RGB", (48, 32), "lime")]
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=100)
        return folder / name

    return write


def with_alpha(folder):
    image = picture().convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.uint8([[0] * 24 + [255] * 24]), 32, 0)))
    image.save(folder / "cut-out.png")
    return folder / "cut-out.png"


def transparent(folder):
    Image.new("RGBA", (48, 32), (200, 0, 0, 0)).save(folder / "nothing.png")
    return folder / "nothing.png"


def cut(name, keep, **options):
    def write(folder):
        path = folder / name
        noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        return path

    return write


def flipped_bytes(folder):
    path = saver("flipped.png")(folder)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(content)
    return path


def postscript(folder):
    (folder / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(touch) show\n")
    return folder / "script.png"


def directory(folder):
    (folder / "broken-link.png").symlink_to(folder / "nowhere.png")
    return folder / "broken-link.png"


ACCEPTED = {
    "JPEG": (saver("a.jpg", quality=95), None),
    "upper-case suffix": (saver("a.PNG"), None),
    "WebP": (saver("a.webp", quality=95), None),
    "BMP": (saver("a.bmp"), None),
    "CMYK JPEG": (saver("cmyk.jpg", lambda image: image.convert("CMYK"), quality=95), None),
    "CMYK TIFF": (saver("cmyk.tiff", lambda image: image.convert("CMYK")), None),
    "progressive JPEG": (saver("progressive.jpg", progressive=True, quality=95), None),
    "greyscale": (saver("grey.png", lambda image: image.convert("L")), None),
    "grey with alpha": (saver("grey-alpha.png", lambda image: image.convert("LA")), None),
    "black and white": (saver("bits.png", lambda image: image.convert("1")), None),
    "palette": (saver("palette.png", lambda image: image.quantize(8)), None),
    "palette with transparency": (palette_with_transparency, "laid on white"),
    "transparent half": (with_alpha, "laid on white"),
    "opaque alpha": (saver("opaque.png", lambda image: image.convert("RGBA")), None),
    "16-bit grey": (sixteen_bit, None),
    "16-bit colour": (sixteen_bit_colour, None),
    "floating point": (floating, None),
    "animated GIF": (animated("moving.gif"), "first frame"),
    "animated WebP": (animated("moving.webp"), "first frame"),
    "animated PNG": (animated("moving.png"), "first frame"),
    "several pages": (animated("pages.tiff"), "several pages"),
    "EXIF rotation": (rotated, None),
    "broken EXIF": (broken_exif, None),
    "colour profile of another kind": (profiled, "colour profile"),
    "broken colour profile": (broken_profile, "colour profile"),
    "wrong extension": (saver("really-a-jpeg.png", format="JPEG"), "content is JPEG"),
    "no extension": (saver("photo", format="PNG"), "content is PNG"),
    "8 px": (saver("smallest.png", lambda image: image.resize((8, 8))), None),
    "odd name": (saver("ünï çødé\n名.png"), None),
    "panorama": (saver("panorama.jpg", lambda image: image.resize((3000, 20))), "elongated"),
}

REFUSED = {
    "1 x 1": (saver("dot.png", lambda image: image.resize((1, 1))), "too small"),
    "7 px": (saver("thin.png", lambda image: image.resize((300, 7))), "too small"),
    "empty file": (byte_writer("empty.png", b""), "empty"),
    "text named .png": (byte_writer("text.png", b"this is no picture\n"), "text"),
    "web page named .jpg": (byte_writer("page.jpg", b"<!DOCTYPE html><html>404</html>"), "web page"),
    "SVG named .png": (byte_writer("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "SVG"),
    "HEIC": (byte_writer("phone.heic", b"\0\0\0\x18ftypheic" + b"\0" * 64), "HEIC"),
    "PDF named .png": (byte_writer("paper.png", b"%PDF-1.7\n" + b"\0" * 64), "PDF"),
    "PostScript named .png": (postscript, "PostScript"),
    "zip named .png": (byte_writer("archive.png", b"PK\x03\x04" + b"\0" * 64), "zip"),
    "git-lfs pointer": (byte_writer("lfs.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "lfs"),
    "zeros": (byte_writer("zeros.png", b"\0" * 4096), "unknown data"),
    "PNG signature alone": (byte_writer("signature.png", b"\x89PNG\r\n\x1a\n"), "unknown data"),
    "truncated JPEG": (cut("cut.jpg", 0.5), "damaged or cut short"),
    "truncated PNG": (cut("cut.png", 0.5), "damaged or cut short"),
    "truncated WebP": (cut("cut.webp", 0.5), None),
    "truncated GIF": (cut("cut.gif", 0.5), "damaged or cut short"),
    "truncated TIFF": (cut("cut.tiff", 0.5), None),
    "truncated BMP": (cut("cut.bmp", 0.5), "damaged or cut short"),
    "truncated in its header": (cut("cut-header.jpg", 0.01), None),
    "flipped bytes": (flipped_bytes, "damaged or cut short"),
    "decompression bomb": (bomb, "limit of 128 megapixels"),
    "30,000 px wide": (wide_bomb, "over the limit"),
    "negative width": (negative_bmp, None),
    "comment bomb": (text_bomb, None),
    "transparent everywhere": (transparent, "transparent"),
    "not a number": (not_a_number, "not finite"),
    "broken link": (directory, "no such file"),
}
