package runs

import (
	"encoding/json"
	"fmt"
)

// Identity describes what a stage was trained from. It is written into each checkpoint of
// the stage and into its Outcome, so that a process that continues the stage, or reads its
// weights, can tell whether they belong to its experiment. Stages that were trained by
// older versions have no Identity.
type Identity struct {
	// Recipe holds the keys of the configuration that the result depends on, with
	// their values as TOML.
	Recipe map[string]string `json:"recipe"`
	Data   Data              `json:"data"`
	// Inputs holds Outcome.Weights of each stage whose weights this one read.
	Inputs map[string]string `json:"inputs,omitempty"`
}

// Data describes the data that a stage was trained and evaluated on.
type Data struct {
	Classes []string `json:"classes"` // in the order of the labels
	Train   Images   `json:"train,omitzero"`
	Eval    Images   `json:"eval"`
	Epoch   int      `json:"epoch,omitempty"` // number of training images in an epoch, without repeats
	Part    string   `json:"part,omitempty"`  // the part of the training images that the stage uses; "" means all
}

// Images describes the images of a split.
type Images struct {
	Count  int    `json:"count"`
	Digest string `json:"digest,omitempty"` // from datasets.Set.Digest; "" means unknown
}

// Metadata keys of an Identity in a checkpoint file.
const (
	metaRecipe = "recipe"
	metaData   = "data"
	metaInputs = "inputs"
)

// metadata returns the identity as checkpoint metadata, with each field as JSON.
func (id *Identity) metadata() (map[string]string, error) {
	all := map[string]string{}
	for key, v := range map[string]any{metaRecipe: id.Recipe, metaData: id.Data, metaInputs: id.Inputs} {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		all[key] = string(text)
	}
	return all, nil
}

// takeIdentity reads an identity from a checkpoint's metadata and removes its keys.
// It returns nil if there is none.
func takeIdentity(metadata map[string]string) (*Identity, error) {
	if metadata[metaRecipe] == "" {
		return nil, nil
	}
	id := &Identity{}
	for key, into := range map[string]any{metaRecipe: &id.Recipe, metaData: &id.Data, metaInputs: &id.Inputs} {
		if err := json.Unmarshal([]byte(metadata[key]), into); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", key, err)
		}
		delete(metadata, key)
	}
	return id, nil
}

// Damaged is the error for a finished stage whose done file or final checkpoint is
// missing, unreadable or not the one that the stage ended with.
type Damaged struct {
	Stage string
	Path  string // of the damaged file
	Err   error  // its message names the file
}

func (d *Damaged) Error() string {
	return fmt.Sprintf("stage %s is done, but its final checkpoint cannot be used: %v", d.Stage, d.Err)
}

// Unwrap returns d.Err.
func (d *Damaged) Unwrap() error { return d.Err }
