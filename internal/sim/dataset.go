package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
)

// dataSet is what the shared engine keeps beside its tasks: which data it is,
// and of each node's writes the number of the last. It is lost with the rest.
type dataSet struct {
	morningai.DataSet
	lanes map[string]int64
}

func (d dataSet) clone() dataSet {
	d.lanes = maps.Clone(d.lanes)
	return d
}

// Snapshot is a copy of the shared engine's data.
type Snapshot struct {
	ref *enginetest.Reference
	set dataSet
}

// Snapshot is a copy of the data as it is.
func (s *Shared) Snapshot() *Snapshot { return &Snapshot{s.ref.Clone(), s.set.clone()} }

// RollBack is a server that has the data of a snapshot.
func (s *Shared) RollBack(to *Snapshot) {
	s.ref.Restore(to.ref.Clone())
	s.set = to.set.clone()
}

// Empty is a server without any data.
func (s *Shared) Empty() {
	s.ref.Restore(enginetest.NewReference(s.setup))
	s.set = dataSet{}
}

func newLineage(r *rand.Rand) uint64 { return r.Uint64() | 1 }

// begin names the data: as the node knows them, or anew.
func (s *Shared) begin(known morningai.ID) {
	s.set = dataSet{DataSet: morningai.DataSet{ID: known, Generation: 1, Lineage: newLineage(s.random)}, lanes: map[string]int64{}}
	if known.IsZero() {
		for i := range s.set.ID {
			s.set.ID[i] = byte(s.random.Uint32())
		}
	}
}

// Know tells the link which data the node has worked on before, and what of its
// writes had been acknowledged.
func (l *Link) Know(d morningai.DataSet, marks []byte) {
	l.known = d
	var lineage uint64
	var acked int64
	if n, err := fmt.Sscan(string(marks), &lineage, &acked); n == 2 && err == nil && lineage == d.Lineage {
		l.acked = acked
	}
}

// Acknowledged is what has been acknowledged to the node, for Know.
func (l *Link) Acknowledged() []byte { return fmt.Append(nil, l.known.Lineage, l.acked) }

// restart is a new process of the node: its writes are numbered anew.
func (l *Link) restart() { l.known, l.acked = morningai.DataSet{}, 0 }

// compare reports that the shared engine has lost writes that it had
// acknowledged to this node, or that another node has noticed a loss. Whoever
// notices first says so to the others by a new generation.
func (l *Link) compare() (lost bool) {
	s := l.shared
	fresh := l.known.ID.IsZero()
	if s.set.ID.IsZero() {
		s.begin(l.known.ID)
		s.set.Generation = l.known.Generation + 1
		if !fresh {
			s.set.LostAt = l.now()
		}
	}
	if fresh {
		l.known = s.set.DataSet
		return false
	}
	if s.set.Same(l.known) && s.set.lanes[l.node] >= l.acked {
		return false
	}
	if s.set.Generation <= l.known.Generation {
		s.set.Generation, s.set.Lineage, s.set.LostAt = l.known.Generation+1, newLineage(s.random), l.now()
		clear(s.set.lanes)
	}
	l.rec.tell(l.node, "notices that data were lost: generation %d", s.set.Generation)
	l.known, l.acked = s.set.DataSet, 0
	return true
}

// number gives a write its number.
func (l *Link) number() {
	set := &l.shared.set
	set.lanes[l.node]++
	l.last, l.lineage = set.lanes[l.node], set.Lineage
}

// acknowledge is the arrival of the answer to a write at the node.
func (l *Link) acknowledge(number int64, lineage uint64) {
	if lineage == l.known.Lineage {
		l.acked = max(l.acked, number)
	}
}

// Capabilities says which data the last call has found.
func (l *Link) Capabilities() morningai.Capabilities {
	c := l.Reference.Capabilities()
	c.Data = l.known
	return c
}

var errDataLost error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "claim", Detail: "Redis has lost data that it had acknowledged"}
