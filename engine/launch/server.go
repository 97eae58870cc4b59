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

// A conversation over control.sock is one request and its answers, each a JSON
// object on a line. An answer that is not final says what is waited for. The
// final one comes when what was asked for has happened.
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

// Reply is what a run answers.
type Reply struct {
	Message string `json:"message,omitempty"` // for people: what has happened, or what is waited for
	Error   string `json:"error,omitempty"`   // why it has not
	Final   bool   `json:"final"`
	PID     int    `json:"pid"`
	pipeline.ControlState
}

// talkTimeout is how long a partner may take to send or to take a line. It
// does not limit how long an answer is waited for.
const talkTimeout = 10 * time.Second

// server answers requests to a run of this process.
type server struct {
	run      *runs.Run
	control  *pipeline.Control
	stop     context.CancelFunc // makes the run stop
	listener *net.UnixListener

	ctx     context.Context // ends with the run
	ended   context.CancelFunc
	outcome Reply // set before ctx ends
	work    sync.WaitGroup
}

// serve begins to answer requests. If that is not possible, it returns a
// server that only does nothing beside the error.
func serve(run *runs.Run, control *pipeline.Control, stop context.CancelFunc) (*server, error) {
	s := &server{run: run, control: control, stop: stop}
	s.ctx, s.ended = context.WithCancel(context.Background())
	var err error
	if s.listener, err = listen(run.Dir()); err != nil {
		return s, err
	}
	s.work.Go(s.accept)
	return s, nil
}

func (s *server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, say; the run matters more
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(time.Second):
				continue
			}
		}
		s.work.Go(func() {
			defer conn.Close()
			s.converse(conn)
		})
	}
}

// unlisten takes the socket away. Conversations under way go on.
func (s *server) unlisten() {
	if s.listener == nil {
		return
	}
	if s.run.LostCause() == nil { // otherwise the path may be that of another process's socket
		os.Remove(socketPath(s.run.Dir())) // if this fails, the next process replaces the socket
	}
	s.listener.Close()
}

// answer ends the conversations, telling how pipeline.Execute ended.
func (s *server) answer(err error) {
	switch {
	case err == nil:
		s.outcome.Message = "the run is done"
	case errors.Is(err, pipeline.ErrInterrupted):
		s.outcome.Message = "stopped; every finished step is in a checkpoint"
	default:
		s.outcome.Error = "the run failed: " + err.Error()
	}
	s.ended()
	s.work.Wait()
}

// converse answers one request.
func (s *server) converse(conn *net.UnixConn) {
	send := func(r Reply) {
		r.PID, r.ControlState = os.Getpid(), s.control.State()
		conn.SetWriteDeadline(time.Now().Add(talkTimeout))
		json.NewEncoder(conn).Encode(r) // to one who has left, nothing is lost
	}
	if err := checkPeer(conn); err != nil {
		send(Reply{Final: true, Error: err.Error()})
		return
	}
	conn.SetReadDeadline(time.Now().Add(talkTimeout))
	// A request that has not come when the run ends is told so.
	late := context.AfterFunc(s.ctx, func() { conn.SetReadDeadline(time.Now()) })
	line, err := bufio.NewReader(io.LimitReader(conn, 4096)).ReadBytes('\n')
	late()
	var r request
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		send(Reply{Final: true, Error: fmt.Sprintf("the request cannot be read: %v", err)})
		return
	}
	last := s.obey(r.Do, func(waitingFor string) { send(Reply{Message: waitingFor}) })
	last.Final = true
	send(last)
}

// obey does what is asked for and returns when it has happened.
func (s *server) obey(do action, tell func(waitingFor string)) Reply {
	if begun := s.control.State().Started; !begun && (do == doPause || do == doStopAfterEpoch) {
		return Reply{Error: "the run has not begun yet"}
	}
	switch do {
	case doStatus:
		return Reply{}
	case doPause:
		s.control.Pause()
		tell("pauses before its next training step")
		return s.await("paused; every finished step is in a checkpoint", "the pause was taken back",
			func(c pipeline.ControlState) (done, other bool) { return c.Paused, !c.Pausing })
	case doContinue:
		s.control.Continue()
		return s.await("goes on", "paused again",
			func(c pipeline.ControlState) (done, other bool) { return !c.Paused, c.Pausing })
	case doStop:
		s.note("asked to stop")
		s.stop()
		tell("stops after this step and saves a checkpoint")
	case doStopAfterEpoch:
		if s.control.State().Pausing {
			return Reply{Error: "the run is paused and comes to no end of an epoch: let it go on first, or stop it now"}
		}
		s.note("asked to stop after this epoch")
		s.control.StopAfterEpoch()
		tell("stops at the end of this epoch")
	default:
		return Reply{Error: fmt.Sprintf("the run does not know %q: it is of another version of this program", do)}
	}
	<-s.ctx.Done()
	return s.outcome
}

// await returns when one of two things has become of the run, or its end.
func (s *server) await(done, other string, look func(pipeline.ControlState) (done, other bool)) Reply {
	var r Reply
	err := s.control.Await(s.ctx, func(c pipeline.ControlState) bool {
		is, isOther := look(c)
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

// note writes into the events what was asked for, so that every viewer knows.
func (s *server) note(message string) {
	// If it cannot be written, neither can what follows, which says so.
	s.run.Emit(runs.Event{Kind: runs.Info, Message: message})
}
