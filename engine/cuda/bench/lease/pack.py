"""Packs what a lease needs into one archive, for a machine without Go, a compiler
or the sources."""

import contextlib
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile

ARCHIVE, PROGRAM = "lease.tar.xz", "lease.pyz"
# The programs share most of their code: a dictionary that spans all of them
# brings 117 MB to 17.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 2, "dict_size": 128 << 20}]
MIB = 1 << 20
ZSTD = b"\x28\xb5\x2f\xfd"  # how such a file begins


class Refused(Exception):
    """What was asked for cannot be packed."""


def pack(folder, images, limit):
    """Writes the archive and the program that unpacks it into a folder; returns a
    line for each group of what is inside."""
    root = repository()
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hatchery-pack-") as work:
        tree = os.path.join(work, "tree")
        manifest = {"revision": revision(root)}
        build(root, os.path.join(tree, "bin"))
        sources(root, tree)
        if images:
            manifest["images"] = pack_images(images, os.path.join(tree, "bin", "hatchery"), work, os.path.join(tree, "images"))
        with open(os.path.join(tree, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump(manifest, f, indent=1)
        new = os.path.join(folder, ARCHIVE + ".new")
        try:
            lines, size = write(tree, new, limit)
            os.replace(new, os.path.join(folder, ARCHIVE))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(new)
    zip_program(os.path.join(folder, PROGRAM))
    return [*lines, f"{os.path.join(folder, ARCHIVE)}: {size / MIB:.1f} MiB, of {limit:g} at most"]


def repository():
    """The root of the sources, in which this file is."""
    root = os.path.abspath(__file__)
    for _ in range(5):
        root = os.path.dirname(root)
    if not os.path.isfile(os.path.join(root, "go.mod")):
        raise Refused("pack builds hatchery, so run it from its sources: python3 engine/cuda/bench/lease pack FOLDER")
    return root


def revision(root):
    """The commit of the sources, with a + where they differ from it; "" where git does not know."""
    try:
        commit, changes = (
            subprocess.run(["git", "-C", root, *ask], check=True, capture_output=True, text=True).stdout.strip()
            for ask in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        )
        return commit + ("+" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def build(root, to):
    """Builds hatchery, the benchmark's program, and the test programs of each
    package whose tests use a card."""
    os.makedirs(to)
    # As in the Makefile, so that what it compiled is not compiled again.
    environment = {**os.environ, "CGO_ENABLED": "1", "CGO_CFLAGS": f"-O2 -g -I{root}/engine/cuda/driver/include"}

    def go(*arguments):
        try:
            done = subprocess.run(["go", *arguments], cwd=root, env=environment, capture_output=True, text=True)
        except FileNotFoundError:
            raise Refused("pack needs Go and a C compiler: there is no go in PATH") from None
        if done.returncode:
            raise Refused(f"go {arguments[0]} failed:\n{done.stderr.strip()}")
        return done.stdout

    how = ["-tags", "gpu", "-buildvcs=false", "-ldflags", "-s -w"]
    go("build", *how, "-o", to + os.sep, ".", "./engine/cuda/bench")
    listed = go("list", "-tags", "gpu", "-f", "{{.ImportPath}} {{.TestImports}} {{.XTestImports}}", "./engine/cuda/...")
    # Who uses the emulation in tests uses a card where there is one; the
    # emulation's own tests are about itself.
    packages = [line.split()[0] for line in listed.splitlines() if "hatchery/engine/cuda/emulation" in line.split(" ", 1)[1]]
    packages = [p for p in packages if p != "hatchery/engine/cuda/emulation"]
    go("test", *how, "-c", "-o", to + os.sep, *packages)


def sources(root, tree):
    """Copies the files that the tests read: all of engine/cuda but Go."""
    for folder, folders, files in os.walk(os.path.join(root, "engine", "cuda")):
        folders[:] = [f for f in folders if f != "__pycache__"]
        for name in files:
            if name.endswith((".go", ".md")) or folder.endswith(os.path.join("bench", "lease")):
                continue
            to = os.path.join(tree, os.path.relpath(os.path.join(folder, name), root))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copyfile(os.path.join(folder, name), to)


# --- images


def pack_images(archive, hatchery, work, to):
    """Makes hatchery's packs, a file a split, of an archive of pictures; returns how many there are."""
    loose = os.path.join(work, "loose")
    counts, classes = {"train": 0, "val": 0}, set()
    try:
        with opened(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                path = os.path.normpath(member.name).split("/")
                if not member.isfile() or len(path) != 3 or path[0] not in ("train", "val", "test"):
                    continue
                split, name = "train" if path[0] == "train" else "val", path[1]
                folder = os.path.join(loose, split, name)
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, path[2]), "xb") as f:
                    shutil.copyfileobj(tar.extractfile(member), f)
                counts[split] += 1
                classes.add(name)
    except FileExistsError as e:
        raise Refused(f"{archive}: {os.path.basename(e.filename)} is in it twice; it may have test or val, not both") from e
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError) as e:
        raise Refused(f"{archive}: {e}") from e
    for split, others in (("train", "train/CLASS/*"), ("val", "val/CLASS/* or test/CLASS/*")):
        if not counts[split]:
            raise Refused(f"{archive}: holds no {others}, JPEG or PNG")
    done = subprocess.run([hatchery, "data", "pack", "folder", to, "--side", "0", "--root", loose], capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"{archive}: hatchery data pack: {(done.stderr or done.stdout).strip()}")
    shutil.rmtree(loose)
    return {"classes": len(classes), **counts}


@contextlib.contextmanager
def opened(archive):
    """The tar stream of an archive that zstd, xz or gzip compressed, or nothing."""
    with open(archive, "rb") as f:
        magic = f.read(6)
    for known, opener in ((b"\x1f\x8b", gzip.open), (b"\xfd7zXZ\0", lzma.open), (b"", open)):
        if magic.startswith(known) and not magic.startswith(ZSTD):
            with opener(archive, "rb") as stream:
                yield stream
            return
    if not shutil.which("zstd"):
        raise Refused(f"{archive} is compressed with zstd, and there is no zstd in PATH")
    process = subprocess.Popen(["zstd", "-dcq", "--long=31", archive], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process.stdout
        process.stdout.read()  # what follows the tar's end
        if process.wait():
            raise Refused(f"{archive}: zstd: {process.stderr.read().decode(errors='replace').strip()}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


# --- the archive


def write(tree, path, limit):
    """Writes the archive of a tree, the same for the same tree; returns how large its groups are, and all."""
    groups = [("programs", "bin"), ("files that programs read", "engine"), ("images", "images"), ("manifest", "manifest.json")]
    lines, written = [], 0
    with open(path, "wb") as f:
        with lzma.LZMAFile(f, "w", filters=FILTERS) as xz, tarfile.open(fileobj=xz, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for name, group in groups:
                plain = 0
                for file in files(os.path.join(tree, group)):
                    info = tarfile.TarInfo(os.path.relpath(file, tree))
                    info.size, info.mtime = os.path.getsize(file), 0
                    info.mode = 0o755 if group == "bin" else 0o644
                    plain += info.size
                    with open(file, "rb") as content:
                        tar.addfile(info, content)
                if plain:  # xz holds some of it back, so the part is not exact
                    lines.append(f"{name}: {plain / MIB:.1f} MiB, about {(f.tell() - written) / MIB:.1f} packed")
                    written = f.tell()
    size = os.path.getsize(path)
    if size > limit * MIB:
        largest = sorted(((os.path.getsize(p), os.path.relpath(p, tree)) for p in files(tree)), reverse=True)[:5]
        each = "".join(f"\n  {p}: {n / MIB:.1f} MiB unpacked" for n, p in largest)
        raise Refused(f"the archive has {size / MIB:.1f} MiB, {limit:g} are allowed:\n  " + "\n  ".join(lines) + "\nthe largest files:" + each)
    return lines, size


def files(path):
    """A file, or all in a folder, in one order everywhere."""
    if os.path.isfile(path):
        return [path]
    return sorted(os.path.join(folder, f) for folder, _, names in os.walk(path) for f in names)


def zip_program(path):
    """Writes this program, without its tests, as one file that Python runs."""
    here = os.path.dirname(os.path.abspath(__file__))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as z:
        for name in sorted(os.listdir(here)):
            if name.endswith(".py") and not name.startswith("test_"):
                with open(os.path.join(here, name), "rb") as f:
                    z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), f.read(), zipfile.ZIP_DEFLATED)
    with open(path + ".new", "wb") as f:
        f.write(content.getvalue())
    os.replace(path + ".new", path)


def unpack(archive, work):
    """Unpacks an archive below a folder, unless it is there; returns where, and the manifest."""
    place = os.path.join(work, "unpacked")
    try:
        if not os.path.isdir(place):
            new = tempfile.mkdtemp(prefix="unpacking-", dir=work)
            try:
                with lzma.open(archive) as xz, tarfile.open(fileobj=xz, mode="r|") as tar:
                    tar.extractall(new, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
                os.rename(new, place)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        with open(os.path.join(place, "manifest.json"), encoding="utf-8") as f:
            return place, json.load(f)
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as e:
        raise Refused(f"{archive}: {e}; make it with: python3 engine/cuda/bench/lease pack FOLDER") from e
