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
	"context"
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
	fmt.Fprintln(os.Stderr, "emulate:", run(os.Args[1:]))
	os.Exit(1)
}

// run replaces this process by the command, which then gets its signals and determines
// its exit status. It returns only on failure.
func run(command []string) error {
	if _, err := os.Stat(kernels); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not here: run it from the root of the sources", kernels)
	}
	if err := emulation.Use(context.Background(), kernels); err != nil {
		return err
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, command, os.Environ()))
}
