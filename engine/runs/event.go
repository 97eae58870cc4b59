package runs

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"time"
)

// Kind says what an event reports and so which of its fields are set.
type Kind string

// The kinds of events. Every event has Time and Kind; all but Queue, Submit,
// RunStart, Interrupted, Result and Done have Stage, Epoch and Step where they make sense.
const (
	Queue       Kind = "queue"       // a process waits for its turn
	Submit      Kind = "submit"      // the stages are handed to a scheduler: Plan, Message
	RunStart    Kind = "run-start"   // an attempt (a process) begins: Plan, Environment
	Attempt     Kind = "attempt"     // a process begins with a stage, while others may be at other stages: Plan, Host, Job, Environment
	StageStart  Kind = "stage-start" // a stage begins from nothing: Epochs, Steps
	Resume      Kind = "resume"      // a stage goes on from a checkpoint: Epoch, Step, Epochs, Steps, File
	Step        Kind = "step"        // progress within an epoch: Loss, LR, Speed
	Epoch       Kind = "epoch"       // an epoch was trained: Loss (its mean), LR, Speed
	Eval        Kind = "eval"        // the network was evaluated after Epoch: EvalLoss, Top1
	Saved       Kind = "checkpoint"  // a checkpoint is safe on disk: File
	StageEnd    Kind = "stage-end"   // a stage is done: its results
	Result      Kind = "result"      // a method is done: Method, its results
	Pause       Kind = "pause"       // the run idles on request
	Continue    Kind = "continue"    // and goes on
	Info        Kind = "info"        // worth knowing: Message
	Warning     Kind = "warning"     // the run goes on: Message
	Error       Kind = "error"       // the run stops: Message
	Interrupted Kind = "interrupted" // the run stops on request and can be resumed: Message
	Requeued    Kind = "requeued"    // the process of a stage ends, and the scheduler starts another: Message
	Done        Kind = "done"        // every stage is done
)

// Names of values. An event and a curve may have others beside these.
const (
	Loss     = "loss"              // training loss
	LR       = "lr"                // learning rate
	Speed    = "images_per_second" // of training
	EvalLoss = "eval_loss"         // cross-entropy on the evaluation set
	Top1     = "top1"              // accuracy on the evaluation set, %
)

// Names of values of a step that was made on a GPU, and how that was. What is
// not known is not there.
const (
	GPU            = "gpu"              // its number
	GPUBusy        = "gpu_busy"         // time in which a kernel ran, %
	GPUMemory      = "gpu_memory"       // in use, bytes
	GPUMemoryTotal = "gpu_memory_total" // bytes
	GPUTemperature = "gpu_temperature"  // °C
	GPUPower       = "gpu_power"        // W
	GPUProducts    = "gpu_products"     // floating-point operations a second of the step's matrix products and attention
	MFU            = "mfu"              // model FLOP utilisation: GPUProducts of the card's peak in dense bfloat16, %
)

// Event is one line of events.jsonl, or of an attempt's journal.
//
// Epoch counts from 1 while an epoch is trained, so that the events "epoch",
// "eval" and "checkpoint" with Epoch 3 follow the third epoch; 0 is before the
// first. Step counts the optimizer steps of the stage, over all attempts that
// led to the present weights.
type Event struct {
	Time    time.Time   `json:"time"` // UTC; Emit sets it
	Kind    Kind        `json:"kind"`
	Stage   string      `json:"stage,omitempty"`
	Method  string      `json:"method,omitempty"` // "assembling", "imitation", "e2e"
	Epoch   int         `json:"epoch,omitempty"`
	Epochs  int         `json:"epochs,omitempty"` // of the whole stage
	Step    int         `json:"step,omitempty"`
	Steps   int         `json:"steps,omitempty"` // of the whole stage
	Values  Values      `json:"values,omitempty"`
	File    string      `json:"file,omitempty"` // relative to the run folder
	Plan    []StagePlan `json:"plan,omitempty"`
	Message string      `json:"message,omitempty"`

	Environment map[string]string `json:"environment,omitempty"` // program and machine of an attempt, by name

	// Of a stage that has a process of its own, whose every event names Stage.
	// Then Error and Interrupted say that this process stops, not the run.
	Attempt int    `json:"attempt,omitempty"`
	Host    string `json:"host,omitempty"`
	Job     string `json:"job,omitempty"` // the scheduler's
}

// StagePlan is a stage to come: what it is, and what progress and the remaining time
// depend on.
type StagePlan struct {
	Stage  string `json:"stage"`
	Method string `json:"method,omitempty"` // the first that needs the stage
	StageInfo
	Epochs int     `json:"epochs,omitempty"`
	Steps  int     `json:"steps,omitempty"`
	Cost   float64 `json:"cost,omitempty"` // expected work relative to other stages, in any unit; 0: unknown
}

// StageInfo says what a stage is to those who do not know its method. Journals of
// versions that did not write it down lack all of it.
type StageInfo struct {
	Kind   string `json:"kind,omitempty"`   // what the stage does: "incubate"
	Module int    `json:"module,omitempty"` // the module that it trains, counted from 1; 0: another network
	Group  string `json:"group,omitempty"`  // of modules of one method, whose stages are called Group-1, Group-2, ...
	Inside string `json:"inside,omitempty"` // the stage whose frozen network the module is trained in, and whose accuracy its own is compared with
	Target bool   `json:"target,omitempty"` // its network is the whole target model, so that its accuracy is the method's
	Recipe string `json:"recipe,omitempty"` // the configuration's table with its recipe; "": it does not train
	Batch  int    `json:"batch,omitempty"`  // images an optimizer step
}

// Values are numbers by name. In JSON, which lacks them, NaN and the
// infinities are the strings "NaN", "+Inf" and "-Inf".
type Values map[string]float64

// Get returns the named value, or NaN if there is none.
func (v Values) Get(name string) float64 {
	if x, ok := v[name]; ok {
		return x
	}
	return math.NaN()
}

// with returns v and more together, without writing to either.
func (v Values) with(more Values) Values {
	if len(v)+len(more) == 0 {
		return nil
	}
	all := make(Values, len(v)+len(more))
	maps.Copy(all, v)
	maps.Copy(all, more)
	return all
}

// number is a float64 in the JSON of Values.
type number float64

func (x number) MarshalJSON() ([]byte, error) {
	switch f := float64(x); {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 1):
		return []byte(`"+Inf"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Inf"`), nil
	default:
		return json.Marshal(f)
	}
}

func (x *number) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"NaN"`:
		*x = number(math.NaN())
	case `"+Inf"`:
		*x = number(math.Inf(1))
	case `"-Inf"`:
		*x = number(math.Inf(-1))
	default:
		return json.Unmarshal(b, (*float64)(x))
	}
	return nil
}

// MarshalJSON writes the values in the order of their names.
func (v Values) MarshalJSON() ([]byte, error) {
	m := make(map[string]number, len(v))
	for k, x := range v {
		m[k] = number(x)
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *Values) UnmarshalJSON(b []byte) error {
	var m map[string]number
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("values: %w", err)
	}
	*v = make(Values, len(m))
	for k, x := range m {
		(*v)[k] = float64(x)
	}
	return nil
}
