package presets

import (
	"errors"
	"fmt"
	"strings"

	"hatchery/models"
)

// Upper limits, far above any known model. They keep a typing mistake or a malicious file
// from allocating a list of a billion layers.
const (
	maxSize   = 1 << 16
	maxDepth  = 1024    // blocks: planning a deeper network takes minutes
	maxTokens = 1 << 18 // of an image: patches of 512 x 512
)

func modelSettings(m *models.ViT) []Setting {
	size := from(1).atMost(maxSize)
	return []Setting{
		{field: &m.Image, Unit: "px", Limits: size, Form: "as in the data", Help: "height and width of an image"},
		{field: &m.Channels, Limits: size, Form: "as in the data", Help: "channels of an image"},
		{field: &m.Patch, Unit: "px", Limits: size, Form: "divides image", Help: "height and width of a patch"},
		{field: &m.Width, Limits: size, Help: "width of a token (timm's embed_dim)"},
		{field: &m.Depth, Unit: "blocks", Limits: from(1).atMost(maxDepth), Help: "depth of the target model"},
		{field: &m.Heads, Limits: size, Form: "divides width", Help: "attention heads"},
		{field: &m.MLPRatio, Limits: above(0), Help: "ratio of the MLP's hidden width to width"},
		{field: &m.QKVBias, Help: "bias of queries, keys and values"},
		{field: &m.NormEps, Limits: above(0), Help: "epsilon of every LayerNorm"},
		{field: &m.Classes, Limits: size, Form: "as in the data", Help: "outputs of the head"},
	}
}

// checkModel checks the model and its division with package models.
func (v *validator) checkModel() {
	m, d := v.c.Model, v.c.Modules
	if v.broken("model.") || v.broken("modules.") {
		return // package models needs valid sizes
	}
	if (m.Image/m.Patch)*(m.Image/m.Patch) > maxTokens {
		v.fail("model.patch", fmt.Sprintf("divides an image of %d pixels into more patches than can be trained", m.Image), "give a larger one")
		return
	}
	if most := maxDepth / d.K; d.MetaDepth > most {
		v.fail("modules.meta_depth", "gives a meta model with more blocks than can be built", fmt.Sprintf("give at most %d", most))
		return
	}
	v.invalid("model.", m.Validate())
	_, err := models.NewDivision(m, d.K, d.Split, d.MetaDepth)
	v.invalid("modules.", err)
}

// invalid reports an error of package models, or several joined ones, under the keys of a
// table.
func (v *validator) invalid(table string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			v.invalid(table, e)
		}
		return
	}
	if bad, ok := errors.AsType[*models.Invalid](err); ok {
		v.fail(table+bad.Key, bad.Problem, "")
	} else if err != nil {
		v.fail(strings.TrimSuffix(table, "."), err.Error(), "")
	}
}
