import errno
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
import unittest.mock

import pack


class Packing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = folder.name
        self.tree = os.path.join(self.work, "tree")
        self.add("bin/hatchery", os.urandom(200000))
        self.add("engine/cuda/kernels/all.cu", b"kernels")
        self.add("manifest.json", json.dumps({"revision": "x", "lease": pack.version()}).encode())

    def add(self, name, content):
        path = os.path.join(self.tree, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content)

    def archive(self, limit=1, name="lease.tar.xz"):
        path = os.path.join(self.work, name)
        return path, pack.write(self.tree, path, limit)

    def test_there_and_back(self):
        path, (lines, size) = self.archive()
        self.assertEqual(size, os.path.getsize(path))
        self.assertRegex(lines[0], r"^programs: 0\.2 MiB, about ")
        place, manifest = pack.unpack(path, self.work)
        self.assertEqual(manifest["revision"], "x")
        self.assertTrue(os.access(os.path.join(place, "bin", "hatchery"), os.X_OK))
        with open(os.path.join(place, "engine/cuda/kernels/all.cu"), "rb") as f:
            self.assertEqual(f.read(), b"kernels")
        self.assertEqual(pack.unpack(path, self.work), (place, manifest))  # it is kept

    def test_the_same_tree_makes_the_same_archive(self):
        first, _ = self.archive()
        os.utime(os.path.join(self.tree, "manifest.json"), (1, 1))
        os.chmod(os.path.join(self.tree, "manifest.json"), 0o600)
        second, _ = self.archive(name="again")
        with open(first, "rb") as a, open(second, "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_too_large_is_refused_with_the_sizes(self):
        with self.assertRaisesRegex(pack.Refused, r"(?s)the archive has 0\.2 MiB, 0\.1 are allowed:.*programs: 0\.2 MiB.*bin/hatchery: 0\.2 MiB"):
            self.archive(limit=0.1)

    def test_an_archive_that_is_cut_off_leaves_nothing(self):
        path, _ = self.archive()
        os.truncate(path, os.path.getsize(path) // 2)
        with self.assertRaisesRegex(pack.Refused, "lease.tar.xz: .*; make it with"):
            pack.unpack(path, self.work)
        self.assertEqual([f for f in os.listdir(self.work) if f.startswith("unpack")], [])

    def test_another_archive_or_a_damaged_folder_is_unpacked_anew(self):
        path, _ = self.archive()
        place, _ = pack.unpack(path, self.work)
        kernels = os.path.join(place, "engine/cuda/kernels/all.cu")
        for damage in ("manifest.json", "engine/cuda/kernels/all.cu", "bin/hatchery"):
            os.remove(os.path.join(place, damage))
            os.mkdir(os.path.join(self.work, "unpacking-killed"))
            pack.unpack(path, self.work)
            self.assertTrue(os.path.exists(os.path.join(place, damage)))
            self.assertFalse(os.path.exists(os.path.join(self.work, "unpacking-killed")))
        self.add("engine/cuda/kernels/all.cu", b"newer")
        path, _ = self.archive()
        pack.unpack(path, self.work)
        with open(kernels, "rb") as f:
            self.assertEqual(f.read(), b"newer")

    def test_an_archive_of_another_lease_is_refused(self):
        for manifest in (b'{"revision": "x", "lease": "0123"}', b"{}", b"[]"):
            self.add("manifest.json", manifest)
            path, _ = self.archive()
            with self.assertRaisesRegex(pack.Refused, r"packed with another version of this program: take the lease\.pyz"):
                pack.unpack(path, self.work)

    def test_the_program_as_one_file_has_the_same_version(self):
        path = os.path.join(self.work, "lease.pyz")
        pack.zip_program(path)
        script = f"import sys; sys.path.insert(0, {path!r}); import pack; print(pack.version())"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=self.work)
        self.assertEqual(done.stdout.strip(), pack.version(), done.stderr)

    def test_a_disk_that_is_full(self):
        path, _ = self.archive()
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with unittest.mock.patch.object(tarfile.TarFile, "extractall", side_effect=full):
            with self.assertRaisesRegex(pack.Refused, r"unpacking into .*: No space left on device; .* MB are free: name another folder with --work"):
                pack.unpack(path, self.work)
        self.assertEqual([f for f in os.listdir(self.work) if f.startswith("unpack")], [])

    def test_one_lease_at_a_time(self):
        with pack.locked(self.work), self.assertRaisesRegex(pack.Refused, "another lease is running in "):
            with pack.locked(self.work):
                pass
        with pack.locked(self.work):
            pass

    def test_images_are_looked_at_before_anything_is_built(self):
        empty = os.path.join(self.work, "empty.tar")
        tarfile.open(empty, "w").close()
        for images, why in (("/nowhere/x.tar", "/nowhere/x.tar: No such file"), (empty, r"empty\.tar: holds no train/CLASS/\*"), (__file__, "test_pack.py: ")):
            with unittest.mock.patch.object(pack, "build", side_effect=AssertionError), self.assertRaisesRegex(pack.Refused, why):
                pack.pack(self.work, images, 40, say=lambda *_, **__: None)

    def images(self, *names):
        path = os.path.join(self.work, "images.tar.gz")
        with tarfile.open(path, "w:gz") as tar:
            for name in names:
                tar.add(os.path.join(self.tree, "manifest.json"), name)
        return pack.pack_images(path, "false", self.work, os.path.join(self.work, "packs"))

    def test_images_that_are_not_as_they_should_be(self):
        for names, why in (
            (["train/cat/1.png"], r"images\.tar\.gz: holds no val/CLASS/\* or test/CLASS/\*, JPEG or PNG"),
            (["cifar/train/cat/1.png", "../train/x/1.png"], r"holds no train/CLASS/\*"),
        ):
            with self.assertRaisesRegex(pack.Refused, why):
                self.images(*names)
        with self.assertRaisesRegex(pack.Refused, r"1\.png is in it twice"):
            self.images("train/cat/1.png", "val/cat/1.png", "test/cat/1.png")

    def test_what_is_no_archive(self):
        path = os.path.join(self.work, "tree", "manifest.json")
        with self.assertRaisesRegex(pack.Refused, "manifest.json: "):
            pack.pack_images(path, "false", self.work, self.work)
