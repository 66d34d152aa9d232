package redis

import (
	"encoding/binary"
	"strings"

	"github.com/RC918/morningai"
)

// outcomes are the reports of one call. First successes of tasks that were handed out
// together from one block travel as a group, which Redis records as one: what it does
// for each task apart is what a call costs.
type outcomes struct {
	n      int
	groups []*outcomeGroup
	rest   []outcome
	of     map[groupKey]*outcomeGroup
}

type outcome struct {
	at         int // place among the reports of the call
	id, report string
}

// groupKey is what tasks share that may be recorded together: block, queue and type, and
// lease.
type groupKey struct {
	place [12]byte
	block byte
	lease [8]byte
}

type outcomeGroup struct {
	key  groupKey
	mask uint32
	list []outcome
}

// add appends a caller's reports. Each task has but one place in a group: a second
// report of it stands apart.
func (o *outcomes) add(ids, reports []string) {
	for i, r := range reports {
		one := outcome{o.n, ids[i], r}
		o.n++
		if r[0] != stateCodes[morningai.StateSucceeded] || len(r) < 46 { // no record
			o.rest = append(o.rest, one)
			continue
		}
		key := groupKey{block: r[15] / 32}
		copy(key.place[:], r[3:15])
		copy(key.lease[:], r[38:46])
		g := o.of[key]
		if g == nil {
			if o.of == nil {
				o.of = make(map[groupKey]*outcomeGroup)
			}
			g = &outcomeGroup{key: key}
			o.of[key] = g
			o.groups = append(o.groups, g)
		}
		bit := uint32(1) << (r[15] % 32)
		if g.mask&bit != 0 {
			o.rest = append(o.rest, one)
			continue
		}
		g.mask |= bit
		g.list = append(g.list, one)
	}
}

// args appends the groups and then the reports as lua/work.lua has them.
func (o *outcomes) args(args []string) []string {
	for _, g := range o.groups {
		head := make([]byte, 0, 27)
		head = binary.BigEndian.AppendUint16(head, uint16(len(g.list)))
		head = binary.BigEndian.AppendUint32(head, g.mask)
		head = append(append(append(head, g.key.lease[:]...), g.key.place[:]...), g.key.block)
		var ids strings.Builder
		ids.Grow(16 * len(g.list))
		for _, one := range g.list {
			ids.WriteString(one.id)
		}
		args = append(args, string(head), ids.String())
	}
	for _, g := range o.groups {
		for _, one := range g.list {
			args = append(args, one.id, one.report)
		}
	}
	for _, one := range o.rest {
		args = append(args, one.id, one.report)
	}
	return args
}

// inOrder returns the verdicts, two letters each, in the order in which the reports
// were added.
func (o *outcomes) inOrder(verdicts string) string {
	out := make([]byte, 2*o.n)
	put := func(one outcome) {
		copy(out[2*one.at:], verdicts[:2])
		verdicts = verdicts[2:]
	}
	for _, g := range o.groups {
		for _, one := range g.list {
			put(one)
		}
	}
	for _, one := range o.rest {
		put(one)
	}
	return string(out)
}
