package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"
)

// lane is a sequence of numbered calls to one partition with one outstanding
// call. Redis applies the number after the stored one and repeats the stored
// reply for the stored number; anything else means that one side has lost
// something.
type lane struct {
	eng  *Engine
	part *partition
	seed maphash.Seed
	turn chan struct{} // holds one token; whoever has it owns the fields below

	id   string
	next uint64 // number of the next call

	mu     sync.Mutex
	acked  uint64 // number of the last call that was answered
	doubts []func()
}

func newLane(p *partition) *lane {
	l := &lane{eng: p.eng, part: p, seed: maphash.MakeSeed(), turn: make(chan struct{}, 1)}
	l.renew()
	l.turn <- struct{}{}
	return l
}

// renew starts a new sequence under a name never used before.
func (l *lane) renew() {
	var id [12]byte
	rand.Read(id[:]) // never fails
	lineage := l.part.lineage()
	l.mu.Lock()
	l.id, l.acked = lineage+string(id[:]), 0
	l.mu.Unlock()
	l.next = 1
	l.settle()
}

// mark is what Redis must have stored of this lane at least.
func (l *lane) mark() (id string, acked uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id, l.acked
}

// call runs a numbered script and returns its reply. A call without an answer is
// in doubt; the next one, under the same number, finds out what became of it.
func (l *lane) call(ctx context.Context, s *script, extraKeys, args []string) ([]rueidis.RedisMessage, error) {
	return l.numbered(ctx, s, "", extraKeys, args)
}

// numbered is call for the data of one lineage alone, unless it is "": if they have
// lost something since, it returns errLost without having done anything.
func (l *lane) numbered(ctx context.Context, s *script, only string, extraKeys, args []string) ([]rueidis.RedisMessage, error) {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { l.turn <- struct{}{} }()

	keys := l.part.with(extraKeys)
	tail := append(l.eng.clockArgs(), args...)
	hash := l.hash(s, tail)
	full := make([]string, 3, 3+len(tail))
	full = append(full, tail...)
	for {
		if only != "" && l.part.lineage() != only {
			return nil, errLost
		}
		full[0], full[1], full[2] = l.id, strconv.FormatUint(l.next, 10), hash
		reply, err := l.eng.eval(ctx, s, keys, full)
		if err == nil {
			first, _ := reply[0].ToString()
			if strings.HasPrefix(first, "-") {
				return reply, nil // nothing was done, the number is still free
			}
			if first != "!gap" {
				l.accept()
				return reply, nil
			}
			if err = l.gap(ctx, reply); err != nil {
				return nil, err
			}
			continue
		}
		return nil, err
	}
}

func (l *lane) accept() {
	l.mu.Lock()
	l.acked = l.next
	l.mu.Unlock()
	l.next++
	l.settle()
}

// settle tells that no call sent before can be applied any more.
func (l *lane) settle() {
	l.mu.Lock()
	list := l.doubts
	l.doubts = nil
	l.mu.Unlock()
	for _, f := range list {
		f()
	}
}

// settled calls f once the calls sent so far cannot be applied any more.
func (l *lane) settled(f func()) {
	l.mu.Lock()
	l.doubts = append(l.doubts, f)
	l.mu.Unlock()
}

func (l *lane) doubtful() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.doubts) > 0
}

// gap handles a number that does not follow. If Redis has applied one that was
// not acknowledged, it was a call given up here, for nobody else uses the name
// of the lane: the sequence goes on after it. Otherwise Redis has lost writes
// that it had acknowledged, or somebody else has noticed that it has: the lane
// starts anew.
func (l *lane) gap(ctx context.Context, reply []rueidis.RedisMessage) error {
	text, _ := reply[1].ToString()
	stored, _ := strconv.ParseUint(text, 10, 64)
	if stored == l.next {
		l.accept()
		return nil
	}
	if known := l.part.dataSet(); l.lineage() == known.lineage {
		if err := l.part.open(ctx, known, afterLoss); err != nil {
			return err
		}
	}
	l.renew()
	return nil
}

func (l *lane) lineage() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id[:max(len(l.id)-12, 0)]
}

// hash tells the calls of a lane apart. Nobody else compares it, so that a fast
// one with a seed of its own does.
func (l *lane) hash(s *script, args []string) string {
	var h maphash.Hash
	h.SetSeed(l.seed)
	h.WriteString(s.sha)
	var size [4]byte
	for _, a := range args {
		binary.BigEndian.PutUint32(size[:], uint32(len(a)))
		h.Write(size[:])
		h.WriteString(a)
	}
	return be(h.Sum64())
}
