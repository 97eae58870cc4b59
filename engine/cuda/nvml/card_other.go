//go:build !gpu

package nvml

import "errors"

// ErrNoSupport is the error of all functions without the tag gpu.
var ErrNoSupport = errors.New("this binary was built without GPU support (make gpu)")

// Card is a GPU.
type Card struct{}

// Open returns ErrNoSupport.
func Open(string) (*Card, error) { return nil, ErrNoSupport }

// Read returns ErrNoSupport.
func (*Card) Read() (Reading, error) { return Reading{}, ErrNoSupport }

// DriverVersion returns ErrNoSupport.
func DriverVersion() (string, error) { return "", ErrNoSupport }

// Library returns "": no file was opened.
func Library() string { return "" }
