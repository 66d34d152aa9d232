package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/RC918/morningai/internal/drill"
)

// head is the first line of a saved history.
type head struct {
	drill.Final
	// Counted are broken promises that the history does not show: the drill has
	// counted, or looked at something that is no operation.
	Counted []string `json:",omitempty"`
}

// saveHistory writes a line with what all servers said at the end, and the history
// after it.
func saveHistory(w io.Writer, f *fleet) error {
	if err := json.NewEncoder(w).Encode(head{f.final, f.broken}); err != nil {
		return fmt.Errorf("write what the servers said at the end: %w", err)
	}
	return f.history.Write(w)
}

// Replay checks a saved history once more, and returns the broken promises, those
// that only the drill could see, and how many operations it has.
func Replay(r io.Reader) (broken []drill.Violation, counted []string, ops int, err error) {
	lines := bufio.NewReader(r)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read a history: it has no first line: %w", err)
	}
	var end head
	if err := json.Unmarshal(first, &end); err != nil || len(end.Nodes) == 0 {
		return nil, nil, 0, fmt.Errorf("read a history: the first line does not say what the servers said at the end")
	}
	h, err := drill.Parse(lines)
	if err != nil {
		return nil, nil, 0, err
	}
	return drill.Check(h, end.Final), end.Counted, h.Len(), nil
}
