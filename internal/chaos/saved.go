package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/RC918/morningai/internal/drill"
)

// saveHistory writes a line with what all servers said at the end, and the history
// after it.
func saveHistory(w io.Writer, f *fleet) error {
	if err := json.NewEncoder(w).Encode(f.final); err != nil {
		return fmt.Errorf("write what the servers said at the end: %w", err)
	}
	return f.history.Write(w)
}

// Replay checks a saved history once more, and returns the broken promises and
// how many operations it has.
func Replay(r io.Reader) (broken []drill.Violation, ops int, err error) {
	lines := bufio.NewReader(r)
	head, err := lines.ReadBytes('\n')
	if err != nil {
		return nil, 0, fmt.Errorf("read a history: it has no first line: %w", err)
	}
	var final drill.Final
	if err := json.Unmarshal(head, &final); err != nil || len(final.Nodes) == 0 {
		return nil, 0, fmt.Errorf("read a history: the first line does not say what the servers said at the end")
	}
	h, err := drill.Parse(lines)
	if err != nil {
		return nil, 0, err
	}
	return drill.Check(h, final), h.Len(), nil
}
