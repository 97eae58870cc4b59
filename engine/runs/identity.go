package runs

import (
	"encoding/json"
	"fmt"
)

// Identity is what a stage was made from. It is written into each of its
// checkpoints and into its Outcome, so that whoever goes on with the stage, or
// reads its weights, can tell whether it is of the experiment at hand. Stages of
// versions that did not keep it have none.
type Identity struct {
	// Recipe has what the result depends on of the configuration: values as TOML
	// by key.
	Recipe map[string]string `json:"recipe"`
	Data   Data              `json:"data"`
	// Inputs has for each stage whose weights this one read what stood for them
	// (Outcome.Weights).
	Inputs map[string]string `json:"inputs,omitempty"`
}

// Data is what a stage saw of its data set.
type Data struct {
	Classes []string `json:"classes"` // in the order of the labels
	Train   Images   `json:"train,omitzero"`
	Eval    Images   `json:"eval"`
	Epoch   int      `json:"epoch,omitempty"` // training images that an epoch goes over, repeats not counted
	Part    string   `json:"part,omitempty"`  // of the training images, where the stage has a part of its own
}

// Images are those of a split.
type Images struct {
	Count  int    `json:"count"`
	Digest string `json:"digest,omitempty"` // see datasets.Set.Digest; "" if it is not known
}

// Metadata keys of an Identity in a checkpoint file.
const (
	metaRecipe = "recipe"
	metaData   = "data"
	metaInputs = "inputs"
)

// metadata writes the identity as JSON, a key for each part of it.
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

// takeIdentity reads what metadata wrote and removes it from there; nil if there
// is none.
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

// Damaged is the error of a stage that is done while a file of its end is
// missing, unreadable or not the one that it ended with.
type Damaged struct {
	Stage string
	Path  string // of the file
	Err   error  // names it
}

func (d *Damaged) Error() string {
	return fmt.Sprintf("stage %s is done, but its final checkpoint cannot be used: %v", d.Stage, d.Err)
}

// Unwrap returns the reason.
func (d *Damaged) Unwrap() error { return d.Err }
