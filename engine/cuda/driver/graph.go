//go:build gpu

package driver

// #include "calls.h"
import "C"

// Graph is work that was captured rather than run.
type Graph struct{ h C.handle }

// BeginCapture starts to record what is put into the stream, and into streams
// that join by waiting for its events, instead of running it. Until EndCapture
// this thread must not allocate, free or wait.
func (s *Stream) BeginCapture() error {
	// Thread-local: other devices' threads may do as they like.
	return check("cuStreamBeginCapture", C.cuStreamBeginCapture_(C.handle(s.Handle()), C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
}

// EndCapture ends the capture that began in this stream. Every stream that
// joined must have been waited for. After an error within the capture there is
// no graph and the stream works again.
func (s *Stream) EndCapture() (*Graph, error) {
	g := new(Graph)
	if err := check("cuStreamEndCapture", C.cuStreamEndCapture_(C.handle(s.Handle()), &g.h)); err != nil {
		return nil, err
	}
	return g, nil
}

// Capturing reports whether the stream is being captured.
func (s *Stream) Capturing() (bool, error) {
	var status C.int
	err := check("cuStreamIsCapturing", C.cuStreamIsCapturing_(C.handle(s.Handle()), &status))
	return status != 0, err
}

// Nodes returns how many kernels, copies and clearings the graph has.
func (g *Graph) Nodes() (int, error) {
	var n C.size_t
	err := check("cuGraphGetNodes", C.cuGraphGetNodes_(g.h, nil, &n))
	return int(n), err
}

// Instantiate makes the graph ready to launch. The graph may be destroyed then.
func (g *Graph) Instantiate() (*GraphExec, error) {
	e := new(GraphExec)
	if err := check("cuGraphInstantiate", C.cuGraphInstantiate_(&e.h, g.h, 0)); err != nil {
		return nil, err
	}
	return e, nil
}

// Destroy gives the graph back.
func (g *Graph) Destroy() error { return check("cuGraphDestroy", C.cuGraphDestroy_(g.h)) }

// GraphExec is a graph that can be launched, again and again.
type GraphExec struct{ h C.handle }

// Upload puts what a first launch would prepare on the device into the stream.
func (e *GraphExec) Upload(s *Stream) error {
	return check("cuGraphUpload", C.cuGraphUpload_(e.h, C.handle(s.Handle())))
}

// Launch puts the graph into the stream. It allocates nothing.
func (e *GraphExec) Launch(s *Stream) error {
	return check("cuGraphLaunch", C.cuGraphLaunch_(e.h, C.handle(s.Handle())))
}

// Destroy gives the executable graph back.
func (e *GraphExec) Destroy() error { return check("cuGraphExecDestroy", C.cuGraphExecDestroy_(e.h)) }
