package tui

import "context"

func runPlain(ctx context.Context, o Options) error { return nil }
