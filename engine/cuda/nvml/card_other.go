//go:build !gpu

package nvml

import "errors"

// ErrNoSupport is why there is nothing to read.
var ErrNoSupport = errors.New("this binary was built without GPU support (make gpu)")

// Card is a GPU.
type Card struct{}

// Open answers ErrNoSupport.
func Open(string) (*Card, error) { return nil, ErrNoSupport }

// Read answers ErrNoSupport.
func (*Card) Read() (Reading, error) { return Reading{}, ErrNoSupport }

// DriverVersion answers ErrNoSupport.
func DriverVersion() (string, error) { return "", ErrNoSupport }

// Library answers that no file was opened.
func Library() string { return "" }
