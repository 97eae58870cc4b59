//go:build gpu

package driver

// #include "calls.h"
import "C"

// Graph is work that was captured instead of run.
type Graph struct{ h C.handle }

// BeginCapture starts to record work that is put into the stream, and into streams that
// wait for its events, instead of running it. Until EndCapture this thread must not
// allocate, free or wait.
func (s *Stream) BeginCapture() error {
	// Thread-local, so that the threads of other devices are not restricted.
	return check("cuStreamBeginCapture", C.cuStreamBeginCapture_(C.handle(s.Handle()), C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
}

// EndCapture ends the capture that began in this stream. The stream must have waited for
// every stream that joined the capture. After an error during the capture there is no
// graph, and the stream is usable again.
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

// Nodes returns the number of kernels, copies and memsets in the graph.
func (g *Graph) Nodes() (int, error) {
	var n C.size_t
	err := check("cuGraphGetNodes", C.cuGraphGetNodes_(g.h, nil, &n))
	return int(n), err
}

// Instantiate prepares the graph for launching. The graph may then be destroyed.
func (g *Graph) Instantiate() (*GraphExec, error) {
	e := new(GraphExec)
	if err := check("cuGraphInstantiate", C.cuGraphInstantiate_(&e.h, g.h, 0)); err != nil {
		return nil, err
	}
	return e, nil
}

// Destroy destroys the graph.
func (g *Graph) Destroy() error { return check("cuGraphDestroy", C.cuGraphDestroy_(g.h)) }

// GraphExec is a graph that can be launched repeatedly.
type GraphExec struct{ h C.handle }

// Upload puts into the stream the preparations on the device that the first launch would
// otherwise make.
func (e *GraphExec) Upload(s *Stream) error {
	return check("cuGraphUpload", C.cuGraphUpload_(e.h, C.handle(s.Handle())))
}

// Launch puts the graph into the stream. It allocates nothing.
func (e *GraphExec) Launch(s *Stream) error {
	return check("cuGraphLaunch", C.cuGraphLaunch_(e.h, C.handle(s.Handle())))
}

// Destroy destroys the executable graph.
func (e *GraphExec) Destroy() error { return check("cuGraphExecDestroy", C.cuGraphExecDestroy_(e.h)) }
