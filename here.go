package morningai

import "context"

type hereKey struct{}

// OnlyHere returns a context whose calls an engine with a journal answers from
// the journal alone, without asking the shared engine or another node: reads
// find what this node itself has accepted, and claims get only what it owns,
// which is something while the shared engine is away. Nodes ask each other this
// way. Other engines make no difference.
func OnlyHere(ctx context.Context) context.Context {
	return context.WithValue(ctx, hereKey{}, true)
}

// IsOnlyHere reports whether ctx is from [OnlyHere].
func IsOnlyHere(ctx context.Context) bool {
	here, _ := ctx.Value(hereKey{}).(bool)
	return here
}
