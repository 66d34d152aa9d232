package redis

import (
	"slices"
	"strings"
	"testing"
)

// recordAt is the record of a first success at a place of a block, as far as grouping looks.
func recordAt(chunk string, n byte, lease string) string {
	r := make([]byte, 60)
	r[0] = 5
	copy(r[3:], "qqqttt"+chunk)
	r[15] = n
	copy(r[38:], lease)
	return string(r)
}

// Outcomes are grouped by block and lease; a second one of a task and what is no first
// success stand apart; and each gets its own verdict back.
func TestOutcomesAreGrouped(t *testing.T) {
	var o outcomes
	o.add([]string{"a", "b"}, []string{recordAt("chunk1", 31, "lease--1"), "\x00another"})
	o.add([]string{"c", "d", "e", "a"}, []string{recordAt("chunk1", 32, "lease--1"), recordAt("chunk1", 0, "lease--1"),
		recordAt("chunk1", 1, "lease--2"), recordAt("chunk1", 31, "lease--1")})
	var masks []uint32
	for _, g := range o.groups {
		masks = append(masks, g.mask)
	}
	if !slices.Equal(masks, []uint32{1<<31 | 1, 1, 2}) {
		t.Errorf("masks %b", masks)
	}
	args := o.args(nil)
	if args[1] != "ad" || args[3] != "c" || args[5] != "e" {
		t.Errorf("groups of %q", args[:6])
	}
	var ids []string
	for i := 6; i < len(args); i += 2 {
		ids = append(ids, args[i])
	}
	if got := strings.Join(ids, ""); got != "adceba" {
		t.Errorf("sent in the order %q", got)
	}
	if got := o.inOrder("a1d4c3e5b2a6"); got != "a1b2c3d4e5a6" {
		t.Errorf("verdicts %q", got)
	}
}
