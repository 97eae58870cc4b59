"""Packs the files of a lease into one archive, for a machine without Go, a compiler or
the sources."""

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

try:
    import lzma
except ImportError:  # only packing and unpacking need it
    lzma = None

ARCHIVE, PROGRAM = "lease.tar.xz", "lease.pyz"
MIB = 1 << 20
ZSTD = b"\x28\xb5\x2f\xfd"  # the first bytes of such a file


class Refused(Exception):
    """Packing or unpacking is not possible."""


def pack(folder, images, limit, say=print):
    """Writes the archive and the program that unpacks it to a folder, and reports progress."""
    need_lzma()
    root = repository()
    os.makedirs(folder, exist_ok=True)
    if images:
        check_images(images)
    with tempfile.TemporaryDirectory(prefix="hatchery-pack-") as work:
        tree = os.path.join(work, "tree")
        manifest = {"revision": revision(root), "lease": version()}
        say("building hatchery, the benchmark and the test programs, which takes one or two minutes", flush=True)
        build(root, os.path.join(tree, "bin"))
        sources(root, tree)
        if images:
            say(f"converting the pictures of {images}", flush=True)
            manifest["images"] = pack_images(images, os.path.join(tree, "bin", "hatchery"), work, os.path.join(tree, "images"))
        with open(os.path.join(tree, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump(manifest, f, indent=1)
        say("compressing", flush=True)
        new = os.path.join(folder, ARCHIVE + ".new")
        try:
            lines, size = write(tree, new, limit)
            os.replace(new, os.path.join(folder, ARCHIVE))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(new)
    zip_program(os.path.join(folder, PROGRAM))
    for line in lines:
        say(line)
    say(f"{os.path.join(folder, ARCHIVE)}: {size / MIB:.1f} MiB, of {limit:g} at most")


def need_lzma():
    if lzma is None:
        raise Refused(f"{sys.executable} was built without the module lzma, which the archive needs: run this with another python3")


def version():
    """Returns a hash of this program's files. The archive contains the hash of the program that packed it."""
    total = hashlib.sha256()
    for name, content in program_files():
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:16]


def program_files():
    """Yields the name and content of each file of this program, without tests, from a folder or from the file of zip_program."""
    here = os.path.dirname(os.path.abspath(__file__))
    wanted = lambda names: sorted(n for n in names if n.endswith(".py") and not n.startswith("test_"))
    if os.path.isdir(here):
        for name in wanted(os.listdir(here)):
            with open(os.path.join(here, name), "rb") as f:
                yield name, f.read()
    else:
        with zipfile.ZipFile(here) as z:
            for name in wanted(z.namelist()):
                yield name, z.read(name)


def repository():
    """Returns the root of the sources that contain this file."""
    root = os.path.abspath(__file__)
    for _ in range(5):
        root = os.path.dirname(root)
    if not os.path.isfile(os.path.join(root, "go.mod")):
        raise Refused("pack builds hatchery, so run it from its sources: python3 engine/cuda/bench/lease pack FOLDER")
    return root


def revision(root):
    """Returns the commit of the sources, with a + if they differ from it, or "" without git."""
    try:
        commit, changes = (
            subprocess.run(["git", "-C", root, *ask], check=True, capture_output=True, text=True).stdout.strip()
            for ask in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        )
        return commit + ("+" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def build(root, to):
    """Builds hatchery, the benchmark's program, and the test programs of all packages whose
    tests use a card."""
    os.makedirs(to)
    # As in the Makefile, so that the build cache is shared.
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
    # Tests that use the emulation can use a card instead, except those of the
    # emulation itself.
    packages = [line.split()[0] for line in listed.splitlines() if "hatchery/engine/cuda/emulation" in line.split(" ", 1)[1]]
    packages = [p for p in packages if p != "hatchery/engine/cuda/emulation"]
    go("test", *how, "-c", "-o", to + os.sep, *packages)


def sources(root, tree):
    """Copies the files that the tests read: all of engine/cuda except Go files."""
    for folder, folders, files in os.walk(os.path.join(root, "engine", "cuda")):
        folders[:] = [f for f in folders if f != "__pycache__"]
        for name in files:
            if name.endswith((".go", ".md")) or folder.endswith(os.path.join("bench", "lease")):
                continue
            to = os.path.join(tree, os.path.relpath(os.path.join(folder, name), root))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copyfile(os.path.join(folder, name), to)


# --- images


def check_images(archive):
    """Raises Refused, before anything is built, if an archive cannot be read or contains no images."""
    try:
        with opened(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            if any(picture(member) for member in tar):
                return
    except (OSError, tarfile.TarError, EOFError, *lzma_error()) as e:
        raise Refused(f"{archive}: {e.strerror if isinstance(e, FileNotFoundError) else e}") from e
    raise Refused(f"{archive}: holds no train/CLASS/*, JPEG or PNG")


def picture(member):
    """Returns (split, class, name) of an image in a tar, or None."""
    path = os.path.normpath(member.name).split("/")
    if not member.isfile() or len(path) != 3 or path[0] not in ("train", "val", "test"):
        return None
    return "train" if path[0] == "train" else "val", path[1], path[2]


def lzma_error():
    return (lzma.LZMAError,) if lzma else ()


def pack_images(archive, hatchery, work, to):
    """Makes hatchery's packs, one file per split, from an archive of images. Returns the counts."""
    loose = os.path.join(work, "loose")
    counts, classes = {"train": 0, "val": 0}, set()
    try:
        with opened(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                found = picture(member)
                if not found:
                    continue
                split, name, file = found
                folder = os.path.join(loose, split, name)
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, file), "xb") as f:
                    shutil.copyfileobj(tar.extractfile(member), f)
                counts[split] += 1
                classes.add(name)
    except FileExistsError as e:
        raise Refused(f"{archive}: {os.path.basename(e.filename)} is in it twice; it may have test or val, not both") from e
    except (OSError, tarfile.TarError, EOFError, *lzma_error()) as e:
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
    """Yields the tar stream of an archive, which may be compressed with zstd, xz or gzip."""
    with open(archive, "rb") as f:
        magic = f.read(6)
    for known, opener in ((b"\x1f\x8b", gzip.open), (b"\xfd7zXZ\0", lambda *a: lzma.open(*a)), (b"", open)):
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
    """Writes a reproducible archive of a tree. Returns lines with the sizes of its groups, and the total size."""
    groups = [("programs", "bin"), ("files that programs read", "engine"), ("images", "images"), ("manifest", "manifest.json")]
    lines, written = [], 0
    # The programs share most of their code: a dictionary that spans all of them reduces
    # 117 MB to 17.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 2, "dict_size": 128 << 20}]
    with open(path, "wb") as f:
        with lzma.LZMAFile(f, "w", filters=filters) as xz, tarfile.open(fileobj=xz, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for name, group in groups:
                plain = 0
                for file in files(os.path.join(tree, group)):
                    info = tarfile.TarInfo(os.path.relpath(file, tree))
                    info.size, info.mtime = os.path.getsize(file), 0
                    info.mode = 0o755 if group == "bin" else 0o644
                    plain += info.size
                    with open(file, "rb") as content:
                        tar.addfile(info, content)
                if plain:  # approximate, because xz buffers data
                    lines.append(f"{name}: {plain / MIB:.1f} MiB, about {(f.tell() - written) / MIB:.1f} packed")
                    written = f.tell()
    size = os.path.getsize(path)
    if size > limit * MIB:
        largest = sorted(((os.path.getsize(p), os.path.relpath(p, tree)) for p in files(tree)), reverse=True)[:5]
        each = "".join(f"\n  {p}: {n / MIB:.1f} MiB unpacked" for n, p in largest)
        raise Refused(f"the archive has {size / MIB:.1f} MiB, {limit:g} are allowed:\n  " + "\n  ".join(lines) + "\nthe largest files:" + each)
    return lines, size


def files(path):
    """Returns a file, or all files in a folder in a fixed order."""
    if os.path.isfile(path):
        return [path]
    return sorted(os.path.join(folder, f) for folder, _, names in os.walk(path) for f in names)


def zip_program(path):
    """Writes this program, without its tests, as one file that Python runs."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in program_files():
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    with open(path + ".new", "wb") as f:
        f.write(content.getvalue())
    os.replace(path + ".new", path)


# --- on the card's machine


@contextlib.contextmanager
def locked(work):
    """Locks a folder: leases that share it must not run at the same time, because they would distort each other's times."""
    with open(os.path.join(work, "lock"), "ab") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another lease is running in {work}: wait until it has ended") from None
        yield


def unpack(archive, work):
    """Unpacks an archive below a locked folder, unless it is already unpacked there
    completely. Returns the folder and the manifest."""
    need_lzma()
    place, kept = os.path.join(work, "unpacked"), os.path.join(work, "unpacked.json")
    with open(archive, "rb") as f:
        identity = digest(f)
    try:
        if not whole(place, kept, identity):
            for name in os.listdir(work):  # an older archive, or the rest of an interrupted unpacking
                if name == "unpacked" or name.startswith("unpacking-"):
                    shutil.rmtree(os.path.join(work, name))
            new = tempfile.mkdtemp(prefix="unpacking-", dir=work)
            try:
                with lzma.open(archive) as xz, tarfile.open(fileobj=xz, mode="r|") as tar:
                    tar.extractall(new, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
                with open(kept, "w", encoding="utf-8") as f:
                    json.dump({"archive": identity, "files": sizes(new)}, f)
                os.rename(new, place)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        with open(os.path.join(place, "manifest.json"), encoding="utf-8") as f:
            manifest = json.load(f)
    except (tarfile.TarError, EOFError, ValueError, *lzma_error()) as e:
        raise Refused(f"{archive}: {e}; make it with: python3 engine/cuda/bench/lease pack FOLDER") from e
    except OSError as e:
        free = shutil.disk_usage(work).free / 1e6
        raise Refused(f"unpacking into {work}: {e.strerror or e}; it needs about 180 MB, and {free:.0f} MB are free: name another folder with --work") from e
    if not isinstance(manifest, dict) or manifest.get("lease") != version():
        raise Refused(
            f"{archive} was packed with another version of this program: take the {PROGRAM} that was written beside it, "
            "or pack again: python3 engine/cuda/bench/lease pack FOLDER"
        )
    return place, manifest


def digest(f):
    total = hashlib.sha256()
    while block := f.read(MIB):
        total.update(block)
    return total.hexdigest()


def sizes(place):
    return {os.path.relpath(p, place): os.path.getsize(p) for p in files(place)}


def whole(place, kept, identity):
    """Whether a folder holds what was unpacked there of an archive."""
    try:
        with open(kept, encoding="utf-8") as f:
            known = json.load(f)
        there = sizes(place)
        return known["archive"] == identity and all(there.get(p) == n for p, n in known["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
