package datasets

import "hatchery/datasets/picture"

// Store loads the pictures of a set that are not in memory.
type Store interface {
	// Load decodes picture i, 0 <= i < Set.Len(), into p, reusing its memory.
	// Several goroutines call it at once, each with its own p. An error names the
	// file.
	Load(i int, p *picture.Picture) error
}
