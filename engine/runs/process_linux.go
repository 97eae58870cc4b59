package runs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// thisProcess returns the identity of this process, zero if there is no /proc.
func thisProcess() Process {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return Process{}
	}
	return Process{Boot: strings.TrimSpace(string(boot)), Namespace: namespace, Start: processStart(os.Getpid())}
}

// processStart returns the start time of a process in clock ticks after boot. It returns 0
// if the process does not exist or is a zombie. See proc(5), /proc/pid/stat: the third
// field is the state, the 22nd the start time.
func processStart(pid int) uint64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is a file name in parentheses, which may contain any character.
	_, rest, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	f := bytes.Fields(rest)
	if !ok || len(f) < 20 || f[0][0] == 'Z' || f[0][0] == 'X' {
		return 0
	}
	start, _ := strconv.ParseUint(string(f[19]), 10, 64)
	return start
}
