package datasets

import "hatchery/datasets/picture"

// Store is where the pictures of a set come from that do not sit in memory.
type Store interface {
	// Load decodes picture i, 0 <= i < Set.Len(), into p, reusing its memory.
	// It is called by several goroutines at once, each with its own p. An
	// error names the file.
	Load(i int, p *picture.Picture) error
}
