//go:build gpu

package driver_test

import (
	"log"

	"hatchery/engine/cuda/driver"
)

// Example doubles numbers on the first GPU, with a kernel in PTX.
func Example() {
	var ptx []byte // with an entry double_f32(float *x, int n)
	values := []float32{1, 2, 3, 4}

	d, err := driver.Open(0)
	if err != nil {
		log.Fatal(err)
	}
	err = d.Do(func(c *driver.Context) error {
		m, err := c.Module(ptx)
		if err != nil {
			return err
		}
		defer m.Unload()
		f, err := m.Function("double_f32")
		if err != nil {
			return err
		}
		s, err := c.Stream()
		if err != nil {
			return err
		}
		defer s.Destroy()
		p, err := c.Alloc(int64(4 * len(values)))
		if err != nil {
			return err
		}
		defer c.Free(p)
		if err := driver.Upload(s, p, values); err != nil {
			return err
		}
		args := []uint64{uint64(p), uint64(len(values))}
		if err := s.Launch(f, [3]uint32{1, 1, 1}, [3]uint32{256, 1, 1}, 0, args); err != nil {
			return err
		}
		return driver.Download(s, values, p)
	})
	d.Close()
	if err != nil {
		log.Fatal(err)
	}
}
