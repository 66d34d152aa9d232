package sim

import (
	"testing"
)

// A fleet of plain nodes keeps its promises as long as nothing goes wrong.
func TestPlainFleetWithoutFaults(t *testing.T) {
	steps := Seeds(t, Config{Open: openPlain, NoJournal: true}, 1, 200, "go test ./internal/sim -run Plain # seed %d")
	t.Logf("%d steps", steps)
}
