package launch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkPeer returns an error if the peer is not a process of this user.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, peerErr); err != nil {
		return fmt.Errorf("cannot determine the user of the client: %w", err)
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("the run belongs to user %d, and the request is from user %d", os.Geteuid(), peer.Uid)
	}
	return nil
}

// descriptorPath returns a short path of the socket in an open folder.
func descriptorPath(folder *os.File) string {
	return filepath.Join("/proc/self/fd", fmt.Sprint(folder.Fd()), socketName)
}
