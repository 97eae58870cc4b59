package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
)

// A conversation over control.sock consists of one request and its replies, each a JSON object
// on one line. A reply that is not final tells what the run is waiting for. The final reply is
// sent when the request has been carried out.
type request struct {
	Do action `json:"do"`
}

type action string

const (
	doStatus         action = "status"
	doPause          action = "pause"
	doContinue       action = "continue"
	doStop           action = "stop"
	doStopAfterEpoch action = "stop-after-epoch"
)

// Reply is a reply of a run to a request.
type Reply struct {
	Message string `json:"message,omitempty"` // what has happened, or what the run is waiting for
	Error   string `json:"error,omitempty"`   // why the request was not carried out
	Final   bool   `json:"final"`
	PID     int    `json:"pid"`
	pipeline.ControlState
}

// talkTimeout is how long the other side may take to send or receive a line. It does not limit
// how long a request takes.
const talkTimeout = 10 * time.Second

// server answers requests to a run of this process.
type server struct {
	run      *runs.Run
	control  *pipeline.Control
	stop     context.CancelFunc // stops the run
	listener *net.UnixListener

	ctx           context.Context // ends with the run
	endCtx        context.CancelFunc
	outcome       Reply // set before ctx ends
	conversations sync.WaitGroup
}

// serve starts answering requests. If it fails, the server that it returns with the error does
// nothing.
func serve(run *runs.Run, control *pipeline.Control, stop context.CancelFunc) (*server, error) {
	s := &server{run: run, control: control, stop: stop}
	s.ctx, s.endCtx = context.WithCancel(context.Background())
	var err error
	if s.listener, err = listen(run.Dir()); err != nil {
		return s, err
	}
	s.conversations.Go(s.accept)
	return s, nil
}

func (s *server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // for example, there are no file descriptors; this must not stop the run
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(time.Second):
				continue
			}
		}
		s.conversations.Go(func() {
			defer conn.Close()
			s.converse(conn)
		})
	}
}

// stopListening removes the socket. Current conversations continue.
func (s *server) stopListening() {
	if s.listener == nil {
		return
	}
	if s.run.LostCause() == nil { // otherwise the socket may belong to another process
		os.Remove(socketPath(s.run.Dir())) // if this fails, the next process replaces the socket
	}
	s.listener.Close()
}

// finish ends all conversations with the result of pipeline.Execute.
func (s *server) finish(err error) {
	switch {
	case err == nil:
		s.outcome.Message = "the run is done"
	case errors.Is(err, pipeline.ErrInterrupted):
		s.outcome.Message = "stopped; every finished step is in a checkpoint"
	default:
		s.outcome.Error = "the run failed: " + err.Error()
	}
	s.endCtx()
	s.conversations.Wait()
}

// converse answers one request.
func (s *server) converse(conn *net.UnixConn) {
	send := func(r Reply) {
		r.PID, r.ControlState = os.Getpid(), s.control.State()
		conn.SetWriteDeadline(time.Now().Add(talkTimeout))
		_ = json.NewEncoder(conn).Encode(r) // fails if the client has disconnected
	}
	if err := checkPeer(conn); err != nil {
		send(Reply{Final: true, Error: err.Error()})
		return
	}
	conn.SetReadDeadline(time.Now().Add(talkTimeout))
	// If the run ends before the request arrives, reading fails.
	late := context.AfterFunc(s.ctx, func() { conn.SetReadDeadline(time.Now()) })
	line, err := bufio.NewReader(io.LimitReader(conn, 4096)).ReadBytes('\n')
	late()
	var r request
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		send(Reply{Final: true, Error: fmt.Sprintf("cannot read the request: %v", err)})
		return
	}
	last := s.handle(r.Do, func(waitingFor string) { send(Reply{Message: waitingFor}) })
	last.Final = true
	send(last)
}

// handle carries out a request and returns the final reply. It calls progress with what the
// run is waiting for.
func (s *server) handle(do action, progress func(waitingFor string)) Reply {
	if started := s.control.State().Started; !started && (do == doPause || do == doStopAfterEpoch) {
		return Reply{Error: "the run has not started yet"}
	}
	switch do {
	case doStatus:
		return Reply{}
	case doPause:
		s.control.Pause()
		progress("will pause before the next training step")
		return s.await("paused; every finished step is in a checkpoint", "the pause was cancelled",
			func(c pipeline.ControlState) (done, other bool) { return c.Paused, !c.Pausing })
	case doContinue:
		s.control.Continue()
		return s.await("continued", "paused again",
			func(c pipeline.ControlState) (done, other bool) { return !c.Paused, c.Pausing })
	case doStop:
		s.note("asked to stop")
		s.stop()
		progress("will save a checkpoint and stop after this step")
	case doStopAfterEpoch:
		if s.control.State().Pausing {
			return Reply{Error: "the run is paused and cannot reach the end of an epoch: continue it first, or stop it now"}
		}
		s.note("asked to stop after this epoch")
		s.control.StopAfterEpoch()
		progress("will stop at the end of this epoch")
	default:
		return Reply{Error: fmt.Sprintf("the run does not know the request %q: it is executed by another version of hatchery", do)}
	}
	<-s.ctx.Done()
	return s.outcome
}

// await waits until check reports that the request has been carried out (done) or has become
// obsolete (other), and returns the message or the error. If the run ends first, it returns
// the outcome.
func (s *server) await(done, other string, check func(pipeline.ControlState) (done, other bool)) Reply {
	var r Reply
	err := s.control.Await(s.ctx, func(c pipeline.ControlState) bool {
		is, isOther := check(c)
		switch {
		case is:
			r.Message = done
		case isOther:
			r.Error = other
		}
		return is || isOther
	})
	if err != nil {
		return s.outcome
	}
	return r
}

// note emits an event for a request, so that every viewer shows it.
func (s *server) note(message string) {
	// If this fails, later events fail too and are reported.
	_ = s.run.Emit(runs.Event{Kind: runs.Info, Message: message})
}
