// Package models describes the networks: their shape, their division into
// modules, their parameters under timm's names, and what they cost.
package models

// ViT is a vision transformer (Dosovitskiy et al.; DeiT without distillation).
type ViT struct {
	Image    int     `toml:"image"`     // height and width, pixels
	Channels int     `toml:"channels"`  // of the image
	Patch    int     `toml:"patch"`     // height and width, pixels
	Width    int     `toml:"width"`     // embed_dim
	Depth    int     `toml:"depth"`     // number of blocks
	Heads    int     `toml:"heads"`     // of attention; divides Width
	MLPRatio float64 `toml:"mlp_ratio"` // hidden width of the MLP over Width
	QKVBias  bool    `toml:"qkv_bias"`
	NormEps  float64 `toml:"norm_eps"` // of every LayerNorm
	Classes  int     `toml:"classes"`
}
