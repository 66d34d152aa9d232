package drill

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Write writes the history as JSON lines: the setup, then one operation a line
// in the order of the calls. A call under way is written as it stands, as one
// that never returned.
func (h *History) Write(w io.Writer) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	if err := enc.Encode(struct {
		Setup Setup `json:"setup"`
	}{h.Setup}); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	for op := range h.Ops() {
		if err := enc.Encode(op); err != nil {
			return fmt.Errorf("write the history: %w", err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	return nil
}

// Parse reads what Write has written. A last line that was cut off, as by a
// crash of the writer, is an error.
func Parse(r io.Reader) (*History, error) {
	var head struct {
		Setup *Setup `json:"setup"`
	}
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&head); err != nil || head.Setup == nil {
		return nil, fmt.Errorf("read a history: the first line is no setup: %w", cmp.Or(err, errors.New("it has none")))
	}
	h := NewHistory(*head.Setup, nil)
	var lastEnd int64
	same := map[string]string{} // most strings come again and again
	intern := func(s *string) {
		if was, ok := same[*s]; ok {
			*s = was
		} else if len(same) < 1<<16 {
			same[*s] = *s
		}
	}
	defer func() { h.last = max(h.last, lastEnd) }() // so that what is added comes after it
	for {
		var op Op
		switch err := dec.Decode(&op); {
		case errors.Is(err, io.EOF):
			return h, nil
		case err != nil:
			return nil, fmt.Errorf("read line %d of a history: %w", h.n+2, err)
		case op.Seq <= h.last || op.End != 0 && op.End < op.Seq || op.Kind == "":
			return nil, fmt.Errorf("read line %d of a history: it has no kind or is out of order", h.n+2)
		}
		for _, s := range []*string{&op.Node, &op.Client, (*string)(&op.Kind), (*string)(&op.Outcome), (*string)(&op.State), &op.Durable, &op.Queue, (*string)(&op.Code)} {
			intern(s)
		}
		h.last, lastEnd = op.Seq, max(lastEnd, op.End)
		h.put(op)
	}
}

// Merge makes one history of parts that were recorded by different processes
// with clocks that started together. Where two moments are the same, a call
// comes before a return, so that nothing is taken for an order that is none.
// The setup is that of the first part.
func Merge(parts ...*History) *History {
	type moment struct {
		at   time.Duration
		op   *Op
		back bool
	}
	var all []moment
	var setup Setup
	for i, part := range parts {
		if i == 0 {
			setup = part.Setup
		}
		for op := range part.Ops() {
			all = append(all, moment{at: op.Call, op: &op})
			if op.End != 0 {
				all = append(all, moment{op.Return, &op, true})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int {
		order := func(m moment) int {
			if m.back {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(order(a), order(b)))
	})
	h := NewHistory(setup, nil)
	h.last = int64(len(all))
	for i, m := range all {
		if m.back {
			m.op.End = int64(i + 1)
		} else {
			m.op.Seq, m.op.End = int64(i+1), 0
		}
	}
	for _, m := range all {
		if !m.back {
			h.put(*m.op)
		}
	}
	return h
}
