package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/RC918/morningai"
)

// digest is the sum of the hashes of what was added, whatever the order.
type digest [4]uint64

func (d *digest) add(packed []byte) {
	sum := sha256.Sum256(packed)
	for i := range d {
		d[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
}

func (d *digest) String() string {
	var b []byte
	for _, n := range d {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return hex.EncodeToString(b)
}

// tally counts records.
type tally struct {
	tasks, deleted, bytes int64
	states                map[morningai.State]int64
	digest                digest
}

func newTally() tally {
	t := tally{states: map[morningai.State]int64{}}
	for _, s := range morningai.States() {
		t.states[s] = 0
	}
	return t
}

func (t *tally) add(r *morningai.Record, packed []byte) {
	t.bytes += int64(len(packed))
	t.digest.add(packed)
	if r.Deleted {
		t.deleted++
		return
	}
	t.tasks++
	t.states[r.Task.State]++
}

// into writes the counts into a manifest.
func (t *tally) into(m *Manifest) {
	m.Tasks, m.Deleted, m.Bytes, m.States, m.Digest = t.tasks, t.deleted, t.bytes, t.states, t.digest.String()
}

// matches reports whether a manifest says what was counted.
func (t *tally) matches(m *Manifest) bool {
	if m.Tasks != t.tasks || m.Deleted != t.deleted || m.Bytes != t.bytes || m.Digest != t.digest.String() {
		return false
	}
	for s, n := range t.states {
		if m.States[s] != n {
			return false
		}
	}
	return len(m.States) == len(t.states)
}
