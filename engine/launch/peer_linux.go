package launch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkPeer refuses who is not the user of this process.
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
		return fmt.Errorf("it cannot be told who asks: %w", err)
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("the run belongs to user %d, not to user %d who asks", os.Geteuid(), peer.Uid)
	}
	return nil
}

// throughDescriptor is a short path of the socket in an open folder.
func throughDescriptor(folder *os.File) string {
	return filepath.Join("/proc/self/fd", fmt.Sprint(folder.Fd()), socketName)
}
