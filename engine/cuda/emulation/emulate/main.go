// Command emulate runs a command over the emulation of CUDA, from the root of
// the sources:
//
//	make gpu
//	go run ./engine/cuda/emulation/emulate ./hatchery doctor
//
// It needs g++. The command finds the stand-in libraries and the emulated
// kernels by its environment.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"hatchery/engine/cuda/emulation"
)

const kernels = "engine/cuda/kernels/all.cu"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: emulate COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "emulate:", err)
		os.Exit(1)
	}
}

// run becomes the command, so that signals and its status are its own.
func run(command []string) error {
	if _, err := os.Stat(kernels); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not here: run it from the root of the sources", kernels)
	}
	if err := emulation.Use(kernels); err != nil {
		return err
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, command, os.Environ()))
}
