package main

import (
	"context"
	"strings"
	"testing"
)

// The figures hold for the documents as they are now: a change of the
// repository's documents that makes its questions unanswerable fails here.
func TestYardstick(t *testing.T) {
	var out strings.Builder
	ok, err := measure(context.Background(), ".", yardsticks, t.TempDir(), &out)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Errorf("below the promised figures:\n%s", out.String())
	}
	t.Log("\n" + out.String())
}
