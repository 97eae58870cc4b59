package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// socketName is the file name of the socket in the run folder.
const socketName = "control.sock"

func socketPath(dir string) string { return filepath.Join(dir, socketName) }

// listen creates the socket of the run in dir. The caller has locked the run, so an existing
// socket belongs to a dead process.
func listen(dir string) (*net.UnixListener, error) {
	path := socketPath(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	address, release, err := address(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the address may be invalid by then
	// Until the mode is changed, checkPeer keeps other users out.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// dial connects to the process of the run in dir.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	address, release, err := address(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	var d net.Dialer
	return d.DialContext(ctx, "unix", address)
}

// maxAddress is the length of the longest Unix socket address that every system accepts.
const maxAddress = 100

// address returns a path of the socket that is short enough for the system. The path is valid
// until release is called.
func address(dir string) (path string, release func(), err error) {
	if path = socketPath(dir); len(path) <= maxAddress {
		return path, func() {}, nil
	}
	folder, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	if path = descriptorPath(folder); path == "" {
		folder.Close()
		return "", nil, fmt.Errorf("%s is too long for the path of a socket", socketPath(dir))
	}
	return path, func() { folder.Close() }, nil
}
