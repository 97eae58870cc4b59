package fetch

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxEntries is far above the number of entries in any of the archives.
const maxEntries = 1000

// unpack unpacks the folder in an archive, unless it exists. It unpacks under another
// name first, so that the folder is either complete or missing.
func unpack(ctx context.Context, f *File, dir string) (err error) {
	if f.Unpack == "" {
		return nil
	}
	folder := filepath.Join(dir, f.Unpack)
	if _, err := os.Stat(folder); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.Open(filepath.Join(dir, f.Name))
	if err != nil {
		return err
	}
	defer file.Close()
	temp, err := os.MkdirTemp(dir, f.Unpack+".part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // empty after success
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := extract(cancellable{ctx, file}, temp, f); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(temp, f.Unpack), folder); err != nil {
		return fmt.Errorf("the archive has no folder %s: %w", f.Unpack, err)
	}
	return syncDir(dir)
}

// extract writes the files of a tar.gz into a folder. It accepts only regular files and
// folders below f.Unpack: no links, no devices, no paths that lead out of it.
func extract(r io.Reader, dir string, f *File) error {
	root, err := os.OpenRoot(dir) // prevents writing outside of dir
	if err != nil {
		return err
	}
	defer root.Close()
	z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<16))
	if err != nil {
		return fmt.Errorf("gzip header: %w", err)
	}
	left, entries := f.Unpacked, 0
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		name := strings.TrimSuffix(h.Name, "/")
		if entries++; entries > maxEntries {
			return fmt.Errorf("more than %d files", maxEntries)
		}
		if name = strings.TrimPrefix(name, "./"); name != f.Unpack && !strings.HasPrefix(name, f.Unpack+"/") || !filepath.IsLocal(name) {
			return fmt.Errorf("%q is not below %s", h.Name, f.Unpack)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(name, 0o755); err != nil {
				return err
			}
		case tar.TypeReg:
			if left -= h.Size; h.Size < 0 || left < 0 {
				return fmt.Errorf("%q would take more than the %d bytes that the data set has", h.Name, f.Unpacked)
			}
			if err := writeFile(root, name, t); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%q is neither a file nor a folder", h.Name)
		}
	}
	_, err = io.Copy(io.Discard, io.LimitReader(z, 1<<20)) // up to the checksum
	return err
}

func writeFile(root *os.Root, name string, r io.Reader) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, r); err != nil {
		return err
	}
	return file.Sync()
}
