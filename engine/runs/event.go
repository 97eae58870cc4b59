package runs

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"time"
)

// Kind tells what an event reports and thus which of its fields are set.
type Kind string

// The kinds of events. Every event has Time and Kind; all but Queue, Submit,
// RunStart, Interrupted, Result and Done have Stage, Epoch and Step where they make sense.
const (
	Queue       Kind = "queue"       // a process waits in the queue
	Submit      Kind = "submit"      // the stages are submitted to a scheduler: Plan, Message
	RunStart    Kind = "run-start"   // a process starts to execute the run: Plan, Environment
	Attempt     Kind = "attempt"     // a process starts to execute one stage, others may execute other stages: Plan, Host, Job, Environment
	StageStart  Kind = "stage-start" // a stage starts from scratch: Epochs, Steps
	Resume      Kind = "resume"      // a stage resumes from a checkpoint: Epoch, Step, Epochs, Steps, File
	Step        Kind = "step"        // progress within an epoch: Loss, LR, Speed
	Epoch       Kind = "epoch"       // an epoch was trained: Loss (its mean), LR, Speed
	Eval        Kind = "eval"        // the network was evaluated after Epoch: EvalLoss, Top1
	Saved       Kind = "checkpoint"  // a checkpoint is safe on disk: File
	StageEnd    Kind = "stage-end"   // a stage is done: its results
	Result      Kind = "result"      // a method is done: Method, its results
	Pause       Kind = "pause"       // the run pauses on request
	Continue    Kind = "continue"    // the run continues after a pause
	Info        Kind = "info"        // information: Message
	Warning     Kind = "warning"     // a problem that does not stop the run: Message
	Error       Kind = "error"       // a problem that stops the run: Message
	Interrupted Kind = "interrupted" // the run stops on request and can be resumed: Message
	Requeued    Kind = "requeued"    // the process of a stage ends, and the scheduler starts another: Message
	Done        Kind = "done"        // every stage is done
)

// Names of values. Events and curves may have other values too.
const (
	Loss     = "loss"              // training loss
	LR       = "lr"                // learning rate
	Speed    = "images_per_second" // of training
	EvalLoss = "eval_loss"         // cross-entropy on the evaluation set
	Top1     = "top1"              // accuracy on the evaluation set, %
)

// Names of values that describe the GPU during a step. Unknown values are omitted.
const (
	GPU            = "gpu"              // its number
	GPUBusy        = "gpu_busy"         // share of time in which a kernel ran, %
	GPUMemory      = "gpu_memory"       // used memory, bytes
	GPUMemoryTotal = "gpu_memory_total" // bytes
	GPUTemperature = "gpu_temperature"  // °C
	GPUPower       = "gpu_power"        // W
	GPUProducts    = "gpu_products"     // floating-point operations per second in matrix products and attention
	MFU            = "mfu"              // model FLOP utilisation: GPUProducts relative to the GPU's peak in dense bfloat16, %
)

// Event is one line of events.jsonl, or of an attempt's journal.
//
// Epoch counts from 1: the events "epoch", "eval" and "checkpoint" with Epoch 3 follow the
// third epoch. Epoch 0 is before the first epoch. Step counts the optimizer steps that led
// to the current weights, in all attempts.
type Event struct {
	Time    time.Time   `json:"time"` // UTC; Emit sets it
	Kind    Kind        `json:"kind"`
	Stage   string      `json:"stage,omitempty"`
	Method  string      `json:"method,omitempty"` // "assembling", "imitation", "e2e"
	Epoch   int         `json:"epoch,omitempty"`
	Epochs  int         `json:"epochs,omitempty"` // in the whole stage
	Step    int         `json:"step,omitempty"`
	Steps   int         `json:"steps,omitempty"` // in the whole stage
	Values  Values      `json:"values,omitempty"`
	File    string      `json:"file,omitempty"` // relative to the run folder
	Plan    []StagePlan `json:"plan,omitempty"`
	Message string      `json:"message,omitempty"`

	Environment map[string]string `json:"environment,omitempty"` // program and machine that execute the run or the stage

	// These are set if the stage has its own process. All events of such a process
	// have Stage, and Error and Interrupted mean that this process stops, not the run.
	Attempt int    `json:"attempt,omitempty"`
	Host    string `json:"host,omitempty"`
	Job     string `json:"job,omitempty"` // the scheduler's job
}

// StagePlan describes a planned stage. Epochs, Steps and Cost are for estimates of progress
// and remaining time.
type StagePlan struct {
	Stage  string `json:"stage"`
	Method string `json:"method,omitempty"` // the first method that needs the stage
	StageInfo
	Epochs int     `json:"epochs,omitempty"`
	Steps  int     `json:"steps,omitempty"`
	Cost   float64 `json:"cost,omitempty"` // expected work relative to other stages, in any unit; 0 means unknown
}

// StageInfo describes a stage to readers that do not know its method. It is empty in
// journals of older versions.
type StageInfo struct {
	Kind   string `json:"kind,omitempty"`   // what the stage does: "incubate"
	Module int    `json:"module,omitempty"` // the module that it trains, counted from 1; 0 means another network
	Group  string `json:"group,omitempty"`  // common name of the stages Group-1, Group-2, ... that train the modules of one method
	Inside string `json:"inside,omitempty"` // the stage whose frozen network the module is trained in; the two accuracies are compared
	Target bool   `json:"target,omitempty"` // whether its network is the whole target model; its accuracy is then that of the method
	Recipe string `json:"recipe,omitempty"` // the configuration table with its recipe; "" means that it does not train
	Batch  int    `json:"batch,omitempty"`  // images per optimizer step
}

// Values are named numbers. JSON has no NaN and infinities; they are written as the strings
// "NaN", "+Inf" and "-Inf".
type Values map[string]float64

// Get returns the named value, or NaN if there is none.
func (v Values) Get(name string) float64 {
	if x, ok := v[name]; ok {
		return x
	}
	return math.NaN()
}

// with returns the values of v and more. It changes neither.
func (v Values) with(more Values) Values {
	if len(v)+len(more) == 0 {
		return nil
	}
	all := make(Values, len(v)+len(more))
	maps.Copy(all, v)
	maps.Copy(all, more)
	return all
}

// number is a float64 that is encoded as Values describes.
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

// MarshalJSON encodes the values in the order of their names.
func (v Values) MarshalJSON() ([]byte, error) {
	m := make(map[string]number, len(v))
	for k, x := range v {
		m[k] = number(x)
	}
	return json.Marshal(m)
}

// UnmarshalJSON decodes the output of MarshalJSON.
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
